"""What people do wrong while they follow the tutorial, and what they are told.

A slip is a command line or a piece of Python, done in the tutorial's folder at its end. `says` are parts of the message:
what was wrong, and what to do. In both, {dsn} is the database, {empty} one that nobody has migrated, {folder} the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Slip:
    """One thing that people do wrong."""

    what: str
    do: str
    says: tuple[str, ...]
    status: int = 1  # of a command
    raises: str = "ConfigurationError"  # by Python
    files: Mapping[str, str] = field(default_factory=dict)  # what is different in the folder
    environment: Mapping[str, str] = field(default_factory=dict)  # ... and in the environment


NO_DSN = {"DATABASE_URL": ""}
IN_ENVIRONMENT = "PGJOBS_DSN or DATABASE_URL"
DOWN = "postgresql://127.0.0.1:1/shop"

DATABASE = (
    Slip("no database is named anywhere", "pgjobs migrate",
         ("No database was named", IN_ENVIRONMENT), environment=NO_DSN),
    Slip("the server is down", f"pgjobs migrate --dsn {DOWN}", ("Connection refused", "Is the server up")),
    Slip("the server is down for a worker", "pgjobs worker --app jobs:app", ("Connection refused", "Is the server up"),
         environment={"DATABASE_URL": DOWN}),
    Slip("the host is misspelt", "pgjobs migrate --dsn postgresql://nohost.invalid/shop",
         ("nohost.invalid", "the DSN right")),
    Slip("the port is another's", "pgjobs status --dsn postgresql://127.0.0.1:2/shop",
         ("port 2 failed", "the DSN right")),
    Slip("the port is no number", "pgjobs status --dsn postgresql://127.0.0.1:x/shop", ('"x"', "the DSN right")),
    Slip("the user does not exist", "pgjobs status --dsn {dsn_as_nobody}", ('"nobody_here"', "the DSN right")),
    Slip("the database does not exist", "pgjobs migrate --dsn {dsn}_of_dreams",
         ("_of_dreams", "does not exist", "create it with `createdb")),
    Slip("the DSN lacks its colon", "pgjobs migrate --dsn postgresql//ann:secret@localhost/shop",
         ("The DSN cannot be read", "must look like postgresql://")),
    Slip("the DSN is of another database", "pgjobs migrate --dsn mysql://root@localhost/shop",
         ("is for mysql", "postgresql://user:password@host:5432/database")),
    Slip("the DSN is SQLite's", "pgjobs migrate --dsn sqlite:///shop.db", ("is for sqlite", "pgjobs needs PostgreSQL")),
    Slip("the application's DATABASE_URL is SQLite's", "pgjobs status", ("is for sqlite",),
         environment={"DATABASE_URL": "sqlite:///shop.db"}),
    Slip("the variable of the shell is not set", "pgjobs migrate --dsn ''", ("--dsn", "is empty"), status=2),
    Slip("an option of the DSN is misspelt", "pgjobs status --dsn '{dsn}?sslmod=require'",
         ("sslmod", "The DSN cannot be read")),
    Slip("the tables were not made before looking", "pgjobs list --dsn {empty}",
         ("no pgjobs schema", "run `pgjobs migrate`")),
    Slip("the tables were not made before working", "pgjobs worker --app jobs:app --dsn {empty}",
         ("no pgjobs schema", "run `pgjobs migrate`")),
    Slip("the tables were not made before enqueuing",
         "with closing(pgjobs.App('{empty}')) as other: other.enqueue_spec(pgjobs.Spec('write_invoice'))",
         ("no pgjobs schema", "run `pgjobs migrate`"), raises="SchemaMissing"),
    Slip("pyproject.toml is no TOML", "pgjobs status", ("pyproject.toml cannot be read", "line 1"),
         files={"pyproject.toml": "[tool.pgjobs\n"}),
    Slip("the dsn in pyproject.toml is no text", "pgjobs status",
         ("dsn under [tool.pgjobs]", "must be a text, not 5432"),
         files={"pyproject.toml": "[tool.pgjobs]\ndsn = 5432\n"}, environment=NO_DSN),
)  # fmt: skip

COMMANDS = (
    Slip("a command is misspelt", "pgjobs migrat", ("No such command 'migrat'", "migrate"), status=2),
    Slip("an option is misspelt", "pgjobs worker --ap jobs:app", ("No such option", "--app"), status=2),
    Slip("the id is forgotten", "pgjobs show", ("Missing argument 'ID'",), status=2),
    Slip("a name is given for an id", "pgjobs show write_invoice",
         ("'write_invoice' is no job id",), status=2),
    Slip("a job that is not there", "pgjobs show 404", ("no job with the id 404", "rolled back or not committed yet")),
    Slip("a dead letter that is not there", "pgjobs retry-failed --id 404",
         ("no dead letter with the id 404", "`pgjobs list --status dead`")),
    Slip("a delay in words", "pgjobs enqueue write_invoice --delay soon",
         ("'soon' is not a duration like 30s, 5m",), status=2),
    Slip("a priority that is none", "pgjobs enqueue write_invoice --priority urgent",
         ("'urgent' is not one of critical (-2), high (-1)",), status=2),
    Slip("a worker of no slots", "pgjobs worker --app jobs:app --concurrency 0", ("'0' is no number from 1 to 10000",), status=2),
    Slip("a lease shorter than the renewals", "pgjobs worker --app jobs:app --lease 100ms",
         ("A lease must be a second or longer",)),
)  # fmt: skip

APP = (
    Slip("--app is forgotten", "pgjobs worker", ("needs to know the app", "--app package.module:app", "PGJOBS_APP")),
    Slip("--app names no attribute", "pgjobs worker --app jobs",
         ("not written as package.module:name", "try jobs:app")),
    Slip("--app is a file", "pgjobs worker --app jobs.py:app", ("not written as package.module:name", "try jobs:app")),
    Slip("--app is a path", "pgjobs worker --app shop/jobs:app",
         ("not written as package.module:name", "try shop.jobs:app")),
    Slip("the module is misspelt", "pgjobs worker --app job:app", ("There is no module job", "did you mean jobs:app?")),
    Slip("the attribute is misspelt", "pgjobs worker --app jobs:ap", ("has no 'ap'", "try jobs:app")),
    Slip("the web application is given", "pgjobs worker --app shop:api", ("is of type FastAPI and not a pgjobs.App",)),
    Slip("a task is given", "pgjobs worker --app jobs:write_invoice", ("is of type Task", "try jobs:app")),
    Slip("the folder is another", "pgjobs worker --app shop.jobs:app",
         ("Call pgjobs where the module can be imported",)),
    Slip("pyproject.toml names another app", "pgjobs worker", ("no module job ", "(pyproject.toml)"),
         files={"pyproject.toml": "[tool.pgjobs]\napp = 'job:app'\n"}),
    Slip("App lacks its parentheses", "pgjobs worker --app jobs:app", ("is the class App itself", "app = pgjobs.App()"),
         files={"jobs.py": "import pgjobs\napp = pgjobs.App\n"}),
    Slip("the app has no task", "pgjobs worker --app jobs:app", ("at least one queue", "give the app a task"),
         files={"jobs.py": "import pgjobs\napp = pgjobs.App()\n"}),
    Slip("a syntax error", "pgjobs worker --app jobs:app", ("SyntaxError", "jobs.py, line 2"),
         files={"jobs.py": "import pgjobs\napp = pgjobs.App(\n"}),
    Slip("a package that is not installed", "pgjobs worker --app jobs:app",
         ("No module named 'weasyprint'", "jobs.py, line 1"),
         files={"jobs.py": "import weasyprint\n"}),
    Slip("the application's own settings are not set", "pgjobs worker --app jobs:app",
         ("KeyError: 'DATABASE_URL'", "models.py"),
         environment=NO_DSN),
    Slip("the worker's queue is misspelt", "pgjobs worker --app jobs:app --queue invoice --drain",
         ("no task of the app is on the queue 'invoice'", "theirs: invoices"), status=0),
)  # fmt: skip

TASK = (
    Slip("a queue is given by position", '@app.task("invoices")\ndef f(): ...',
         ("A task is a function, not 'invoices'", "queue=")),
    Slip("a function without a name", "app.task(lambda: 1)", ("no name of its own", "name=")),
    Slip("no attempts", "@app.task(max_attempts=0)\ndef f(): ...", ("max_attempts must be a number from 1",)),
    Slip("a negative timeout", "@app.task(timeout=-1)\ndef f(): ...", ("A timeout must be longer than nothing",)),
    Slip("a timeout in words", '@app.task(timeout="60s")\ndef f(): ...',
         ("timeout must be seconds or a timedelta, not '60s'",)),
    Slip("an executor that is none", '@app.task(executor="threads")\ndef f(): ...',
         ("async, thread or process, not 'threads'",)),
    Slip("a coroutine in a thread", '@app.task(executor="thread")\nasync def f(): ...',
         ("run it by the async or process executor",)),
    Slip("a function that blocks in the event loop", '@app.task(executor="async")\ndef f(): ...',
         ("is not a coroutine function", "async def")),
    Slip("arguments without names", "@app.task\ndef f(*ids): ...", ("cannot take *ids", "arguments by name")),
    Slip("two tasks of one name", "@app.task(name='write_invoice')\ndef f(): ...",
         ("a task named write_invoice already", "name=")),
    Slip("a priority of one's own", "@app.task(priority=5)\ndef f(): ...", ("-2, -1, 0, 1, 2, not 5",)),
)  # fmt: skip

ENQUEUE = (
    Slip("the task is misspelt", "pgjobs enqueue write_invoce --app jobs:app --payload '{{\"order_id\": 1}}'",
         ("no task 'write_invoce'", "it has: write_invoice")),
    Slip("the payload is Python's", "pgjobs enqueue write_invoice --payload \"{{'order_id': 1}}\"",
         ("The payload is not JSON", "--payload '{{\"letter_id\": 7}}'")),
    Slip("the payload has no names", "pgjobs enqueue write_invoice --payload '[1]'",
         ("JSON object with the arguments by name",)),
    Slip("the payload lacks an argument", "pgjobs enqueue write_invoice --app jobs:app",
         ("needs the argument 'order_id'",)),
    Slip("an argument is misspelt", "write_invoice.enqueue(order=1)",
         ("has no argument 'order'", "order_id"), raises="InvalidPayload"),
    Slip("an argument is forgotten", "write_invoice.enqueue()",
         ("needs the argument 'order_id'",), raises="InvalidPayload"),
    Slip("an argument too many", "write_invoice.enqueue(1, 2)",
         ("takes 1 by position, but 2",), raises="InvalidPayload"),
    Slip("the order itself is given", "write_invoice.enqueue(order_id=Order())",
         ("the argument 'order_id' must be an int", "not <models.Order"), raises="InvalidPayload"),
    Slip("a moment without a time zone", "write_invoice.options(available_at=datetime(2030, 1, 1))",
         ("needs a time zone",),
         raises="InvalidJob"),
    Slip("a delay and a moment", "write_invoice.options(delay=1, available_at=datetime(2030, 1, 1, tzinfo=UTC))",
         ("a delay or an available_at, not both",), raises="InvalidJob"),
    Slip("a delay in words to a function", 'write_invoice.options(delay="5m")',
         ("delay must be seconds or a timedelta, not '5m'",),
         raises="InvalidJob"),
    Slip("a negative timeout for one job", "write_invoice.options(timeout=-1)",
         ("A timeout must be longer than nothing",),
         raises="InvalidJob"),
    Slip("a queue without a name", 'write_invoice.options(queue="")',
         ("must have 1 to 200 characters",), raises="InvalidJob"),
    Slip("the engine is given as the transaction", "write_invoice.options(tx=engine).enqueue(order_id=1)",
         ("not Engine", "Connection or Session")),
    Slip("the maker of sessions is given", "write_invoice.options(tx=sessionmaker(engine)).enqueue(order_id=1)",
         ("not sessionmaker", "Connection or Session")),
    Slip("an async connection for a blocking enqueue",
         "async def f():\n    async with await AsyncConnection.connect('{dsn}') as c:\n"
         "        write_invoice.options(tx=c).enqueue(order_id=1)\nasyncio.run(f())",
         ("belongs to an event loop", "await task.aenqueue(...)")),
    Slip("an async session for a blocking enqueue", "write_invoice.options(tx=AsyncSession()).enqueue(order_id=1)",
         ("belongs to an event loop", "await task.aenqueue(...)")),
    Slip("a blocking session for an async enqueue",
         "with Session(engine) as s: asyncio.run(write_invoice.options(tx=s).aenqueue(order_id=1))",
         ("would block the event loop", "task.enqueue(...)")),
    Slip("the session is of another database",
         "with Session(create_engine('sqlite://')) as s: write_invoice.options(tx=s).enqueue(order_id=1)", ("pysqlite", "psycopg")),
    Slip("the commit is forgotten",
         "with Session(engine) as s: job = write_invoice.options(tx=s).enqueue(order_id=1)\napp.job(job)",
         ("no job with the id", "rolled back or not committed yet"), raises="JobNotFound"),
    Slip("a worker inside an event loop", "async def f(): app.run_worker(drain=True)\nasyncio.run(f())",
         ("an event loop runs", "async with app.worker()")),
    Slip("one queue where a list is wanted", 'app.run_worker("invoices", drain=True)', ('queues=["invoices"]',)),
)  # fmt: skip

HANDLER = (
    Slip("a job whose task the worker does not have",
         "pgjobs enqueue write_invoce --queue invoices && pgjobs worker --app jobs:app --drain",
         ("this worker has no task 'write_invoce'", "the right --app?"), status=0),
    Slip("a job whose arguments do not fit",
         "pgjobs enqueue write_invoice --queue invoices --max-attempts 1 && pgjobs worker --app jobs:app --drain",
         ("write_invoice needs the argument 'order_id'",), status=0),
    Slip("a result that is no JSON", "pgjobs enqueue f --app jobs:app --max-attempts 1 && pgjobs worker --app jobs:app --drain",
         ("The result of f cannot be kept", "of type Order is not JSON serializable"), status=0,
         files={"jobs.py": "import pgjobs\nfrom models import Order\napp = pgjobs.App()\n"
                           "@app.task\ndef f() -> Order:\n    return Order()\n"}),
)  # fmt: skip

SLIPS = (*DATABASE, *COMMANDS, *APP, *TASK, *ENQUEUE, *HANDLER)
