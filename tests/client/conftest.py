"""One suite over both faces: a test says what it does once, and does it with blocking calls and in an event loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pytest_postgresql.executors import NoopExecutor

import pgjobs
from tests.sql.by_hand import until

Connection = psycopg.Connection[Any]
Backends = Callable[[str], list[int]]


@pytest.fixture(scope="session")
def shared_dsn(server: NoopExecutor) -> Iterator[str]:
    """One database for all tests here: making one takes longer than most of them."""
    name = f"{server.dbname}_client"
    with psycopg.connect(os.environ["PGJOBS_TEST_DSN"], autocommit=True) as connection:
        connection.execute(f"create database {name} template {server.template_dbname}")
        yield make_conninfo(os.environ["PGJOBS_TEST_DSN"], dbname=name)
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def dsn(request: pytest.FixtureRequest) -> Iterator[str]:
    """The shared database, emptied after each test; one of its own for a test that moves the clock or changes the schema."""
    if {"clock", "own_database"} & set(request.fixturenames):
        connection = request.getfixturevalue("postgresql")
        dsn = make_conninfo(connection.info.dsn, password=connection.info.password)
    else:
        dsn = request.getfixturevalue("shared_dsn")
    yield dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert connection.execute("select * from pgjobs.violations").fetchall() == []
        for table in ("jobs", "attempts", "job_history", "dead_letters", "queues", "tasks", "workers"):
            connection.execute(f"delete from pgjobs.{table}")


@pytest.fixture
def own_database() -> None:
    """Ask for a database that no other test sees."""


class Face:
    """Blocking calls: `task.enqueue`, `app.job`, psycopg.Connection."""

    name = "blocking"
    connection: Any = psycopg.Connection

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stack = ExitStack()

    def close(self) -> None:
        """Close the connections that are still open."""
        self._stack.close()

    def do(self, made: Any) -> Any:
        """Return what a call returned."""
        return made

    def enqueue(self, task: Any, /, *args: Any, **kwargs: Any) -> pgjobs.JobId:
        """Enqueue through a task, or one with options."""
        id: pgjobs.JobId = task.enqueue(*args, **kwargs)
        return id

    def enqueue_many(self, app: pgjobs.App, specs: Iterable[pgjobs.Spec], tx: Any = None) -> list[pgjobs.JobId]:
        """Enqueue many jobs."""
        return app.enqueue_many(specs, tx=tx)

    def enqueue_spec(self, app: pgjobs.App, spec: pgjobs.Spec, tx: Any = None) -> pgjobs.JobId:
        """Enqueue what a spec describes."""
        return app.enqueue_spec(spec, tx)

    def job(self, app: pgjobs.App, id: int, tx: Any = None) -> pgjobs.Job:
        """Look a job up."""
        return app.job(id, tx=tx)

    def steer(self, app: pgjobs.App, verb: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a verb of the app."""
        return getattr(app, verb)(*args, **kwargs)

    def client(self, app: pgjobs.App, tx: Any = None) -> Any:
        """Lend a client, for the time of a with block."""
        return self.block(app.client(tx))

    def close_app(self, app: pgjobs.App) -> None:
        """Close what the app has opened."""
        app.close()

    def connect(self, autocommit: bool = False, **options: Any) -> Any:
        """Open a connection of this face's kind, which is closed after the test."""
        connection = self.do(self.connection.connect(self._dsn, autocommit=autocommit, **options))
        self._stack.callback(lambda: self.do(connection.close()))
        return connection

    @contextmanager
    def block(self, manager: Any) -> Iterator[Any]:
        """Enter a context manager of either kind."""
        is_async = hasattr(manager, "__aenter__")
        enter, leave = ("__aenter__", "__aexit__") if is_async else ("__enter__", "__exit__")
        value = self.do(getattr(manager, enter)())
        try:
            yield value
        except BaseException as error:
            if not self.do(getattr(manager, leave)(type(error), error, error.__traceback__)):
                raise
        else:
            self.do(getattr(manager, leave)(None, None, None))


class AsyncFace(Face):
    """The same in an event loop: `task.aenqueue`, `app.ajob`, psycopg.AsyncConnection."""

    name = "async"
    connection = psycopg.AsyncConnection
    loop_factory: Any = None

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        self._runner = self._stack.enter_context(asyncio.Runner(loop_factory=self.loop_factory))

    def do(self, made: Any) -> Any:
        if not inspect.isawaitable(made):
            return made
        # In the context as it is now: app.using(...) around the test's call counts.
        return self._runner.run(_await(made), context=contextvars.copy_context())

    def enqueue(self, task: Any, /, *args: Any, **kwargs: Any) -> pgjobs.JobId:
        id: pgjobs.JobId = self.do(task.aenqueue(*args, **kwargs))
        return id

    def enqueue_many(self, app: pgjobs.App, specs: Iterable[pgjobs.Spec], tx: Any = None) -> list[pgjobs.JobId]:
        ids: list[pgjobs.JobId] = self.do(app.aenqueue_many(specs, tx=tx))
        return ids

    def enqueue_spec(self, app: pgjobs.App, spec: pgjobs.Spec, tx: Any = None) -> pgjobs.JobId:
        id: pgjobs.JobId = self.do(app.aenqueue_spec(spec, tx))
        return id

    def job(self, app: pgjobs.App, id: int, tx: Any = None) -> pgjobs.Job:
        job: pgjobs.Job = self.do(app.ajob(id, tx=tx))
        return job

    def steer(self, app: pgjobs.App, verb: str, /, *args: Any, **kwargs: Any) -> Any:
        return self.do(getattr(app, f"a{verb}")(*args, **kwargs))

    def client(self, app: pgjobs.App, tx: Any = None) -> Any:
        return self.block(app.aclient(tx))

    def close_app(self, app: pgjobs.App) -> None:
        self.do(app.aclose())


async def _await(made: Awaitable[Any]) -> Any:
    return await made


@pytest.fixture(params=[Face, AsyncFace], ids=lambda kind: kind.name)
def face(request: pytest.FixtureRequest, dsn: str, app: pgjobs.App) -> Iterator[Face]:
    """One of the two faces. The app's connections of its event loop are closed at the end."""
    face: Face = request.param(dsn)
    yield face
    face.close_app(app)
    face.close()


@pytest.fixture
def task(app: pgjobs.App) -> pgjobs.Task[..., Any]:
    """A task of the app: read_letter(letter_id, language="en") on queue ocr."""

    @app.task(queue="ocr")
    def read_letter(letter_id: int, language: str = "en") -> int:
        return letter_id

    return read_letter


@pytest.fixture
def count(db: Connection) -> Callable[[], int]:
    """How many jobs there are, as others see it."""

    def count() -> int:
        row = db.execute("select count(*) from pgjobs.jobs").fetchone()
        assert row is not None
        return int(row[0])

    return count


@pytest.fixture
def empty_dsn(db: Connection) -> Iterator[str]:
    """A database without the schema."""
    name = f"{db.info.dbname}_empty"
    db.execute(f"create database {name} template template0")
    yield make_conninfo(db.info.dsn, dbname=name, password=db.info.password)
    db.execute(f"drop database {name} with (force)")


@pytest.fixture
def backends(db: Connection) -> Backends:
    """Wait until there are so many processes of the server for the app's own connections, and return them: backends("= 1").

    One whose connection was closed, be it by an earlier test, is there a moment longer.
    """
    there = "from pg_stat_activity where datname = current_database() and application_name = 'pgjobs'"

    def backends(count: str) -> list[int]:
        until(db, f"count(*) {count} {there}")
        return [pid for (pid,) in db.execute(f"select pid {there} order by backend_start".encode())]

    return backends
