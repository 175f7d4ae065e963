"""`pgjobs worker`, as a program of its own; what it logs is what the tests wait for."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import NoReturn

import pytest

import pgjobs
import pgjobs.cli.worker as cli_worker
from pgjobs.orders import Orders
from tests.cli.conftest import NO_SERVER, Cli, Start, WriteApp, line_with

TASKS = """
import asyncio, logging, threading
log = logging.getLogger("shop")

@app.task
def add(a: int, b: int, job: pgjobs.JobContext) -> int:
    job.log.info("adding")
    log.info("line one\\nline two")
    return a + b

@app.task(max_attempts=1)
def fall() -> None:
    raise ValueError("down")

@app.task(queue="long")
async def wait_for_ever() -> None:
    log.info("started")
    await asyncio.Event().wait()

@app.task(queue="long")
def block_for_ever() -> None:
    log.info("started")
    threading.Event().wait()

@app.task(queue="process", executor="process")
def enqueue_another() -> int:
    return int(add.enqueue(1, 1))
"""


def test_a_draining_worker_does_what_there_is_and_ends_with_a_summary(
    here: str, start: Start, write_app: WriteApp, app: pgjobs.App
) -> None:
    path = write_app(TASKS)
    done, dead = (app.enqueue_spec(pgjobs.Spec(*job)) for job in (("add", '{"a": 1, "b": 2}'), ("fall",)))
    later = app.enqueue_spec(pgjobs.Spec("add", queue="other"))
    process = start("worker", "--queue", "default", "--app", path, "--drain", "--name", "ann", "--concurrency", "3")
    out, log = process.communicate()
    assert process.returncode == 0, log
    assert out.startswith("Worker 1 ended after ")
    assert out.endswith(": 1 done, 1 failed.\n")
    assert "(ann) works on default, 3 jobs at a time" in log
    assert app.job(done).result == 3
    assert app.job(dead).status is pgjobs.Status.DEAD
    assert app.job(later).status is pgjobs.Status.READY


def test_the_log_has_time_level_message_and_the_job_it_is_about(
    here: str, start: Start, write_app: WriteApp, app: pgjobs.App
) -> None:
    id = app.enqueue_spec(pgjobs.Spec("add", '{"a": 1, "b": 2}'))
    _, log = start("worker", "--app", write_app(TASKS), "--drain").communicate()
    assert "\x1b" not in log
    entries = [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ", "", line) for line in log.splitlines()]
    assert entries[1:4] == [f"INFO    job {id} (add): adding", "INFO    shop: line one", "    line two"]


def test_the_log_as_json_is_one_object_a_line(here: str, start: Start, write_app: WriteApp, app: pgjobs.App) -> None:
    id = app.enqueue_spec(pgjobs.Spec("add", '{"a": 1, "b": 2}'))
    _, log = start("worker", "--app", write_app(TASKS), "--drain", "--log-format", "json").communicate()
    entries = {entry["message"]: entry for entry in map(json.loads, log.splitlines())}
    adding = entries["adding"]
    assert (adding["level"], adding["job"], adding["run"], adding["task"]) == ("info", id, 1, "add")
    assert entries["line one\nline two"]["logger"] == "shop"


def test_the_log_is_silent_below_its_level(here: str, start: Start, write_app: WriteApp, app: pgjobs.App) -> None:
    app.enqueue_spec(pgjobs.Spec("fall"))
    _, log = start("worker", "--app", write_app(TASKS), "--drain", "--log-level", "error").communicate()
    assert log == ""


def test_an_app_that_configures_logging_itself_has_the_last_word(here: str, start: Start, write_app: WriteApp) -> None:
    path = write_app(TASKS + "\nlogging.basicConfig(format='MINE %(message)s', level='INFO', force=True)")
    _, log = start("worker", "--app", path, "--drain").communicate()
    assert log.startswith("MINE ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_what_runs_is_given_back(
    here: str, start: Start, write_app: WriteApp, app: pgjobs.App, number: signal.Signals
) -> None:
    id = app.enqueue_spec(pgjobs.Spec("wait_for_ever", queue="long"))
    process = start("worker", "--app", write_app(TASKS), "--grace", "0")
    line_with(process, "started")
    process.send_signal(number)
    out, log = process.communicate()
    assert process.returncode == 0, log
    assert out.endswith(": 1 given back.\n")
    job = app.job(id)
    assert (job.status, job.attempts) == (pgjobs.Status.READY, 0)
    with app.client() as client:
        assert client.worker_overview() == []


def test_a_thread_that_never_returns_does_not_keep_the_program_alive(
    here: str, start: Start, write_app: WriteApp, app: pgjobs.App
) -> None:
    app.enqueue_spec(pgjobs.Spec("block_for_ever", queue="long"))
    process = start("worker", "--app", write_app(TASKS), "--grace", "0")
    line_with(process, "started")
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate()
    assert process.returncode == 0, log


def test_a_second_signal_ends_the_grace(here: str, start: Start, write_app: WriteApp, app: pgjobs.App) -> None:
    app.enqueue_spec(pgjobs.Spec("wait_for_ever", queue="long"))
    process = start("worker", "--app", write_app(TASKS), "--grace", "1h")
    line_with(process, "started")
    process.send_signal(signal.SIGTERM)
    line_with(process, "stopping")
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 0


def test_what_a_child_process_enqueues_goes_to_the_database_given_by_option(
    here: str, start: Start, write_app: WriteApp, app: pgjobs.App, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PGJOBS_DSN")
    first = app.enqueue_spec(pgjobs.Spec("enqueue_another", queue="process"))
    process = start("worker", "--app", write_app(TASKS), "--dsn", dsn, "--drain")
    _, log = process.communicate()
    assert process.returncode == 0, log
    assert app.job(int(app.job(first).result)).status is pgjobs.Status.COMPLETED


def test_a_worker_in_the_commands_own_process_is_for_debuggers(
    here: str, start: Start, write_app: WriteApp, app: pgjobs.App
) -> None:
    process = start("worker", "--app", write_app(TASKS), "--processes", "0")
    line_with(process, "works on default, long, process")
    with app.client() as client:
        assert [worker.pid for worker in client.worker_overview()] == [process.pid]
    process.send_signal(signal.SIGTERM)
    assert process.communicate()[0].endswith(": nothing done.\n")


def test_several_processes_drain_together(here: str, start: Start, write_app: WriteApp, app: pgjobs.App) -> None:
    for _ in range(20):
        app.enqueue_spec(pgjobs.Spec("add", '{"a": 1, "b": 2}'))
    process = start("worker", "--app", write_app(TASKS), "--processes", "2", "--drain", "--log-format", "json")
    out, log = process.communicate()
    assert process.returncode == 0, log
    assert re.fullmatch(r"2 workers ended after .*: 20 done\.\n", out)
    messages = [json.loads(line)["message"] for line in log.splitlines()]
    assert any(message.startswith("supervisor ") for message in messages)
    assert messages.count("adding") == 20


def test_a_password_is_not_for_everybody_to_see(here: str, start: Start, write_app: WriteApp) -> None:
    process = start("worker", "--app", write_app(TASKS))
    line_with(process, "works on default")
    arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    assert b"jobs:app" in arguments
    assert b"postgres" not in arguments.replace(str(Path(pgjobs.__file__).parent).encode(), b"")
    process.send_signal(signal.SIGTERM)
    process.communicate()


def test_the_database_given_by_option_wins_over_that_of_the_app_in_every_process(
    dsn: str, start: Start, write_app: WriteApp, app: pgjobs.App
) -> None:
    id = app.enqueue_spec(pgjobs.Spec("add", '{"a": 1, "b": 2}'))
    path = write_app(f"app = pgjobs.App({NO_SERVER!r})\n{TASKS}")
    process = start("worker", "--app", path, "--dsn", dsn, "--processes", "1", "--drain")
    _, log = process.communicate()
    assert process.returncode == 0, log
    assert app.job(id).result == 3


@pytest.mark.parametrize(
    ("tasks", "option", "error"),
    [("", [], "at least one queue"), (TASKS, ["--lease", "100ms"], "A lease must be a second or longer")],
)
def test_a_worker_that_makes_no_sense_is_refused_in_a_sentence(
    cli: Cli, write_app: WriteApp, tasks: str, option: list[str], error: str
) -> None:
    result = cli("worker", "--app", write_app(tasks), "--dsn", NO_SERVER, *option)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert error in result.stderr


@pytest.mark.parametrize("dsn_of", ["down", "empty"])
def test_a_worker_that_cannot_start_says_why_in_one_sentence(
    cli: Cli, write_app: WriteApp, empty: str, dsn_of: str
) -> None:
    result = cli("worker", "--app", write_app(TASKS), "--dsn", empty if dsn_of == "empty" else NO_SERVER)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert ("run `pgjobs migrate`" if dsn_of == "empty" else "Connection refused") in result.stderr


NOT_HERE = "import sys\nif 'supervised' in sys.argv[0]: raise RuntimeError('not today')"


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(
    ("tasks", "options", "error"),
    [
        ("", [], "A worker needs at least one queue"),
        (TASKS, ["--lease", "100ms"], "A lease must be a second or longer"),
        (TASKS, ["--app", "nothing:app"], "There is no module nothing for the app nothing:app (--app)"),
        (NOT_HERE, [], "Importing jobs for the app jobs:app (--app) failed: RuntimeError: not today"),
        (TASKS, ["--dsn", NO_SERVER], "Connection refused. Is the server up, and the DSN right"),
        (TASKS, ["--dsn", "EMPTY"], "run `pgjobs migrate`"),
        (TASKS, ["--dsn", "mysql://here"], "it is for mysql, and pgjobs needs PostgreSQL"),
    ],
)
def test_a_program_whose_worker_cannot_begin_says_why_once_and_ends(
    here: str, start: Start, write_app: WriteApp, empty: str, processes: str, tasks: str, options: list[str], error: str
) -> None:
    options = [empty if option == "EMPTY" else option for option in options]
    process = start("worker", "--app", write_app(tasks), "--log-level", "warning", "--processes", processes, *options)
    out, log = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert (log.startswith("Error: "), log.count("\n")) == (True, 1), log
    assert error in log


def test_without_an_app_or_a_database_a_worker_is_refused(start: Start, write_app: WriteApp) -> None:
    _, log = start("worker").communicate()
    assert log.startswith("Error: A worker needs to know the app"), log
    _, log = start("worker", "--app", write_app(TASKS)).communicate()
    assert re.search("^Error: No database was named.", log, re.MULTILINE), log


def test_with_debug_the_traceback_of_the_app_is_shown(here: str, start: Start, write_app: WriteApp) -> None:
    process = start("worker", "--app", write_app("1 / 0"), "--debug")
    _, log = process.communicate()
    assert process.returncode == 1
    assert "Traceback (most recent call last)" in log
    assert log.splitlines()[-1].startswith(
        "Error: Importing jobs for the app jobs:app (--app) failed: ZeroDivisionError"
    )


def test_what_a_thread_enqueues_goes_to_the_database_given_by_option(
    dsn: str, start: Start, write_app: WriteApp, app: pgjobs.App
) -> None:
    """Also in the worker that was begun before that was known."""
    path = write_app("""
other = pgjobs.App()

@app.task
def first() -> int:
    import os
    with other.client() as client:
        return client.enqueue(pgjobs.Spec("second", queue="another"))
""")
    id = app.enqueue_spec(pgjobs.Spec("first"))
    process = start("worker", "--app", path, "--dsn", dsn)
    second = app.wait_for(id)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert app.job(second).task == "second"


def test_a_queue_that_may_be_misspelt_is_told_by_one_of_several_workers(
    here: str, start: Start, write_app: WriteApp
) -> None:
    process = start("worker", "--app", write_app(TASKS), "--queue", "nowhere", "--processes", "2")
    log = [line_with(process, "works on nowhere")]
    log.append(line_with(process, "works on nowhere"))
    process.send_signal(signal.SIGTERM)
    out, rest = process.communicate()
    assert process.returncode == 0, rest
    assert out.startswith("2 workers ended after ")


def test_a_worker_that_was_begun_for_nothing_ends(start: Start) -> None:
    for arguments in (["--nonsense"], ["--processes", "00", "--app", "nothing:app"], []):
        process = start("worker", *arguments)
        process.communicate()  # to the end of its output, which a worker process has open as well
        assert process.returncode in (1, 2)


def test_concurrency_may_be_given_for_each_executor(
    here: str, start: Start, write_app: WriteApp, app: pgjobs.App
) -> None:
    path = write_app(TASKS)
    id = app.enqueue_spec(pgjobs.Spec("add", '{"a": 1, "b": 2}'))
    options = ("--queue", "default", "--app", path, "--drain", "--concurrency", "async=100,thread=10, process=2")
    out, log = start("worker", *options).communicate()
    assert out.endswith(": 1 done.\n"), log
    assert "works on default, 112 jobs at a time" in log
    assert app.job(id).result == 3


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("many", "'many' is no number from 1 to 10000, and not like async=100,thread=10,process=2"),
        ("0", "'0' is no number"),
        ("async=", "'async=' is no number"),
        ("5,6", "'5,6' names an executor other than async, thread and process"),
        ("fibre=6", "names an executor other than async, thread and process"),
    ],
)
def test_a_concurrency_that_makes_no_sense_is_refused(cli: Cli, here: str, given: str, why: str) -> None:
    result = cli("worker", "--concurrency", given)
    assert result.exit_code == 2
    assert why in " ".join(result.stderr.split())


def test_what_a_job_enqueues_goes_into_the_database_that_dsn_names(cli: Cli, dsn: str, write_app: WriteApp) -> None:
    path = write_app(
        f"""
app = pgjobs.App({NO_SERVER!r})

@app.task
def first() -> None:
    second.enqueue()

@app.task
def second() -> None: ...
"""
    )
    assert cli("enqueue", "first", "--app", path, "--dsn", dsn).exit_code == 0
    assert cli("worker", "--app", path, "--dsn", dsn, "--drain").exit_code == 0
    done = json.loads(cli("list", "--dsn", dsn, "--status", "completed", "--json").stdout)
    assert [job["task"] for job in done] == ["second", "first"]


@pytest.mark.parametrize("processes", ["0", "1", "2"])
def test_a_queue_that_may_be_misspelt_is_told_once(
    here: str, start: Start, write_app: WriteApp, processes: str
) -> None:
    process = start("worker", "--app", write_app(TASKS), "--queue", "nowhere", "--drain", "--processes", processes)
    _, log = process.communicate()
    assert process.returncode == 0, log
    assert log.count("no task of the app is on the queue 'nowhere'") == 1


# What comes while the command becomes the supervisor: a worker may run jobs already.

PENDING = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.kill(os.getpid(), signal.SIGTERM)
sys.argv[0] = "pgjobs"
from pgjobs.__main__ import main
main()
"""


def test_a_signal_that_comes_while_the_supervisor_is_made_is_heard_by_it(
    here: str, start: Start, write_app: WriteApp
) -> None:
    process = start("worker", "--app", write_app(TASKS), program=("-c", PENDING))
    out, log = process.communicate()
    assert process.returncode == 0, log
    assert out, log  # its summary


def test_signals_wait_from_the_moment_in_which_a_worker_has_its_orders(
    monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    masks: list[set[signal.Signals]] = []

    def replaced(path: str, arguments: list[str]) -> NoReturn:
        masks.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, [])))  # type: ignore[arg-type]
        raise SystemExit(7)

    monkeypatch.setattr(os, "execv", replaced)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        with pytest.raises(SystemExit):
            cli_worker._become_supervisor(Orders("", "app:app", 1, {}, 60, 30, False, None, []))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert masks[0] >= {signal.SIGTERM, signal.SIGINT}
