"""Every kind of connection that carries jobs, each as its library's user would use it, behind one set of verbs.

What an async library does is awaited by `face.do`, which passes on what a blocking one has done already.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import Any

import asyncpg
import django
import django.conf
import psycopg
import sqlalchemy
from django.db import connections, transaction
from psycopg import rows
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_asyncio

import pgjobs
from tests.client.conftest import AsyncFace, Face


class Kind:
    """A connection of some kind, and what a user does with it and with jobs on it.

    `tx` is what is given to pgjobs. `autocommits`: outside of `begin` every statement is a transaction of its own.
    `reopens`: one that was closed opens again when it is used.
    """

    face_kind: type[Face] = Face
    autocommits = False
    reopens = False
    tx: Any = None

    def __init__(self, face: Face, dsn: str) -> None:
        self.face = face
        self.do = face.do
        self.dsn = dsn
        self.stack = ExitStack()

    def open(self) -> None:
        """Connect."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection, for good."""
        raise NotImplementedError

    def begin(self) -> None:
        """Begin a transaction, where it does not begin by itself."""

    def commit(self) -> None:
        """Commit it."""
        self.do(self.tx.commit())

    def rollback(self) -> None:
        """Roll it back."""
        self.do(self.tx.rollback())

    def savepoint(self) -> AbstractContextManager[Any]:
        """Return a block that is rolled back alone when it raises."""
        return self.face.block(self.tx.begin_nested())

    def execute(self, sql: str) -> None:
        """Run a statement of the user's own."""
        self.do(self.tx.execute(sqlalchemy.text(sql)))

    def enqueue(self, task: Any, /, *, bound: dict[str, Any] | None = None, **payload: Any) -> pgjobs.JobId:
        """Enqueue a job on this connection."""
        return self.face.enqueue(task.options(tx=self.tx, **(bound or {})), **payload)

    def enqueue_many(self, app: pgjobs.App, specs: list[pgjobs.Spec]) -> list[pgjobs.JobId]:
        """Enqueue many."""
        return self.face.enqueue_many(app, specs, tx=self.tx)

    def job(self, app: pgjobs.App, id: int) -> pgjobs.Job:
        """Look one up."""
        return self.face.job(app, id, tx=self.tx)


# psycopg


class Psycopg(Kind):
    """psycopg's Connection or AsyncConnection."""

    options: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def open(self) -> None:
        self.tx = self.connection = self.face.connect(**self.options)

    def close(self) -> None:
        self.do(self.connection.close())

    def commit(self) -> None:
        self.do(self.connection.commit())

    def rollback(self) -> None:
        self.do(self.connection.rollback())

    def savepoint(self) -> AbstractContextManager[Any]:
        return self.face.block(self.connection.transaction())

    def execute(self, sql: str) -> None:
        self.do(self.connection.execute(sql))


class PsycopgAutocommit(Psycopg):
    """In autocommit mode, with a block that is begun by hand."""

    options = {"autocommit": True}  # noqa: RUF012
    autocommits = True

    def begin(self) -> None:
        self.execute("begin")


class PsycopgRows(Psycopg):
    """With rows as dictionaries."""

    options = {"row_factory": rows.dict_row}  # noqa: RUF012


class PsycopgPipeline(Psycopg):
    """In pipeline mode."""

    def open(self) -> None:
        super().open()
        self.pipeline = self.stack.enter_context(self.face.block(self.connection.pipeline()))

    def close(self) -> None:
        self.stack.close()
        super().close()

    def execute(self, sql: str) -> None:
        super().execute(sql)
        self.do(self.pipeline.sync())


class PsycopgCursor(Psycopg):
    """By a cursor."""

    def open(self) -> None:
        super().open()
        self.tx = self.connection.cursor(row_factory=rows.class_row(dict))


class PsycopgServerCursor(Psycopg):
    """By a cursor on the server that is in the middle of something."""

    def begin(self) -> None:
        self.tx = self.connection.cursor("letters", row_factory=rows.scalar_row)
        self.do(self.tx.execute("select generate_series(1, 10)"))
        assert self.do(self.tx.fetchone()) == 1

    def commit(self) -> None:
        self.do(self.tx.close())
        super().commit()

    def rollback(self) -> None:
        self.do(self.tx.close())
        super().rollback()

    def close(self) -> None:
        self.tx = self.connection.cursor("letters")
        self.do(self.tx.close())
        super().close()


class PsycopgClientCursor(Psycopg):
    """With cursors that put the parameters into the text themselves."""

    options = {"cursor_factory": psycopg.ClientCursor}  # noqa: RUF012


class AsyncPsycopgClientCursor(Psycopg):
    """The same in an event loop."""

    options = {"cursor_factory": psycopg.AsyncClientCursor}  # noqa: RUF012


# SQLAlchemy


def url(driver: str, dsn: str) -> sqlalchemy.URL:
    """Return a DSN as SQLAlchemy writes it."""
    info: dict[str, Any] = dict(conninfo_to_dict(dsn))
    return sqlalchemy.URL.create(
        f"postgresql+{driver}", username=info["user"], password=info.get("password"), host=info["host"],
        port=int(info["port"]), database=info["dbname"],
    )  # fmt: skip


class SaConnection(Kind):
    """A Connection."""

    driver = "psycopg"
    options: dict[str, Any] = {}  # noqa: RUF012
    engine: Any

    def open(self) -> None:
        self.engine = sqlalchemy.create_engine(url(self.driver, self.dsn), **self.options)
        self.stack.callback(self.engine.dispose)
        self.tx = self.make()
        self.stack.callback(self.leave)

    def make(self) -> Any:
        return self.engine.connect()

    def leave(self) -> None:
        self.tx.close()

    def close(self) -> None:
        self.tx.close()


class SaAutocommit(SaConnection):
    """A Connection in AUTOCOMMIT, with a block that is begun by hand."""

    options = {"isolation_level": "AUTOCOMMIT"}  # noqa: RUF012
    autocommits = True

    def begin(self) -> None:
        self.execute("begin")

    def commit(self) -> None:
        self.execute("commit")

    def rollback(self) -> None:
        self.execute("rollback")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self.execute("savepoint mine")
        try:
            yield
        except BaseException:
            self.execute("rollback to savepoint mine")
            raise


class SaSession(SaConnection):
    """A Session."""

    reopens = True

    def make(self) -> Any:
        return orm.Session(self.engine)


class SaScopedSession(SaConnection):
    """A scoped_session."""

    reopens = True

    def make(self) -> Any:
        return orm.scoped_session(orm.sessionmaker(self.engine))

    def leave(self) -> None:
        self.tx.remove()


class SaAsyncConnection(SaConnection):
    """An AsyncConnection."""

    face_kind = AsyncFace

    def open(self) -> None:
        self.engine = sa_asyncio.create_async_engine(url(self.driver, self.dsn), **self.options)
        self.stack.callback(lambda: self.do(self.engine.dispose()))
        self.tx = self.make()
        self.stack.callback(self.leave)

    def make(self) -> Any:
        return self.stack.enter_context(self.face.block(self.engine.connect()))

    def leave(self) -> None:
        self.do(self.tx.close())

    def close(self) -> None:
        self.do(self.tx.close())


class SaAsyncAutocommit(SaAutocommit, SaAsyncConnection):
    """An AsyncConnection in AUTOCOMMIT."""


class SaAsyncSession(SaAsyncConnection):
    """An AsyncSession."""

    reopens = True

    def make(self) -> Any:
        return sa_asyncio.AsyncSession(self.engine)


class SaAsyncScopedSession(SaAsyncConnection):
    """An async_scoped_session."""

    reopens = True

    def make(self) -> Any:
        return sa_asyncio.async_scoped_session(sa_asyncio.async_sessionmaker(self.engine), scopefunc=lambda: 1)

    def leave(self) -> None:
        self.do(self.tx.remove())


class SaRunSync(SaAsyncSession):
    """An AsyncSession whose blocking side is used, inside `run_sync`."""

    def enqueue(self, task: Any, /, *, bound: dict[str, Any] | None = None, **payload: Any) -> pgjobs.JobId:
        id: pgjobs.JobId = self.run(lambda session: task.options(tx=session, **(bound or {})).enqueue(**payload))
        return id

    def enqueue_many(self, app: pgjobs.App, specs: list[pgjobs.Spec]) -> list[pgjobs.JobId]:
        ids: list[pgjobs.JobId] = self.run(lambda session: app.enqueue_many(specs, tx=session))
        return ids

    def job(self, app: pgjobs.App, id: int) -> pgjobs.Job:
        job: pgjobs.Job = self.run(lambda session: app.job(id, tx=session))
        return job

    def run(self, function: Callable[[Any], Any]) -> Any:
        return self.do(self.tx.run_sync(function))


# asyncpg


class Asyncpg(Kind):
    """A connection of asyncpg, with its user's own idea of JSON and of time."""

    face_kind = AsyncFace
    autocommits = True

    def open(self) -> None:
        self.tx = self.do(asyncpg.connect(**self.where()))
        self.stack.callback(lambda: self.do(self.tx.close()))
        for name in ("json", "jsonb", "timestamptz", "interval"):
            codec = {"encoder": self.refuse, "decoder": self.refuse, "schema": "pg_catalog"}
            self.do(self.tx.set_type_codec(name, **codec))

    @staticmethod
    def refuse(value: Any) -> Any:
        raise AssertionError("a codec of the caller's has no say")

    def where(self) -> dict[str, Any]:
        info = conninfo_to_dict(self.dsn)
        return {"host": info["host"], "port": info["port"], "user": info["user"], "password": info.get("password"),
                "database": info["dbname"]}  # fmt: skip

    def close(self) -> None:
        self.do(self.tx.close())

    def begin(self) -> None:
        self.transaction = self.tx.transaction()
        self.do(self.transaction.start())

    def commit(self) -> None:
        self.do(self.transaction.commit())

    def rollback(self) -> None:
        self.do(self.transaction.rollback())

    def savepoint(self) -> AbstractContextManager[Any]:
        return self.face.block(self.tx.transaction())

    def execute(self, sql: str) -> None:
        self.do(self.tx.execute(sql))


class AsyncpgPool(Asyncpg):
    """A connection that a pool of asyncpg has lent."""

    def open(self) -> None:
        pool = self.do(self.made())
        self.stack.callback(lambda: self.do(pool.close()))
        lent = pool.acquire()
        self.tx = self.stack.enter_context(self.face.block(lent))
        self.pool = pool

    async def made(self) -> Any:
        return await asyncpg.create_pool(**self.where(), min_size=1, max_size=1, record_class=OddRecord)

    def close(self) -> None:
        self.do(self.pool.release(self.tx))


class OddRecord(asyncpg.Record):  # type: ignore[misc]
    """What a user may make of a row."""


# Django

if not django.conf.settings.configured:
    django.conf.settings.configure(USE_TZ=True, TIME_ZONE="Asia/Tokyo")
    django.setup()


def on_psycopg2() -> Any:
    """Return Django's DatabaseWrapper as it is where psycopg 3 is not installed."""
    prefix = "django.db.backends.postgresql"
    names = [name for name in sys.modules if name.startswith(prefix) or name.split(".")[0] == "psycopg"]
    hidden = {name: sys.modules.pop(name) for name in names}
    sys.modules["psycopg"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module(f"{prefix}.base").DatabaseWrapper
    finally:
        for name in [name for name in sys.modules if name.startswith(prefix)]:
            del sys.modules[name]
        del sys.modules["psycopg"]
        sys.modules.update(hidden)


class Django(Kind):
    """A connection of Django's, on psycopg."""

    reopens = True
    autocommits = True
    wrapper: Any = None

    def open(self) -> None:
        info = conninfo_to_dict(self.dsn)
        settings = {
            "ENGINE": "django.db.backends.postgresql", "NAME": info["dbname"], "USER": info["user"], "HOST": info["host"],
            "PASSWORD": info.get("password") or "", "PORT": info["port"],
        }  # fmt: skip
        kept = connections.settings
        self.stack.callback(setattr, connections, "settings", kept)
        connections.settings = connections.configure_settings({"default": settings})
        self.forget()
        if self.wrapper is not None:
            connections["default"] = self.wrapper(connections.settings["default"], "default")
        self.tx = self.connection = connections["default"]
        self.stack.callback(self.forget)
        self.stack.callback(self.connection.close)

    def forget(self) -> None:
        with suppress(AttributeError):
            del connections["default"]

    def close(self) -> None:
        self.connection.close()

    def begin(self) -> None:
        self.block = transaction.atomic()
        self.block.__enter__()

    def commit(self) -> None:
        self.block.__exit__(None, None, None)

    def rollback(self) -> None:
        transaction.set_rollback(True)
        self.block.__exit__(None, None, None)

    def savepoint(self) -> AbstractContextManager[Any]:
        savepoint: AbstractContextManager[Any] = transaction.atomic()
        return savepoint

    def execute(self, sql: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)


class DjangoOnPsycopg2(Django):
    """A connection of Django's, on psycopg2."""

    def open(self) -> None:
        self.wrapper = on_psycopg2()
        super().open()
        assert type(self.do_connect()).__module__.startswith("psycopg2")

    def do_connect(self) -> Any:
        self.connection.ensure_connection()
        return self.connection.connection


class DjangoFoundByItself(Django):
    """Inside `atomic`, where nobody says which connection."""

    def open(self) -> None:
        super().open()
        self.tx = None


def variant(base: type[Kind], driver: str) -> type[Kind]:
    """Return a kind of SQLAlchemy's on another driver."""
    return type(f"{base.__name__}_{driver}", (base,), {"driver": driver})


def in_loop(kind: type[Kind]) -> type[Kind]:
    """Return a kind of psycopg's in an event loop."""
    return type(f"Async{kind.__name__}", (kind,), {"face_kind": AsyncFace})


PSYCOPG: list[type[Kind]] = [
    Psycopg, PsycopgAutocommit, PsycopgRows, PsycopgPipeline, PsycopgCursor, PsycopgServerCursor,
]  # fmt: skip
SYNC: list[type[Kind]] = [SaConnection, SaAutocommit, SaSession, SaScopedSession]
ASYNC: list[type[Kind]] = [SaAsyncConnection, SaAsyncAutocommit, SaAsyncSession, SaAsyncScopedSession, SaRunSync]
KINDS: list[type[Kind]] = [
    *PSYCOPG,
    PsycopgClientCursor,
    *map(in_loop, PSYCOPG),
    in_loop(AsyncPsycopgClientCursor),
    *(variant(kind, driver) for kind in SYNC for driver in ("psycopg", "psycopg2")),
    *(variant(kind, driver) for kind in ASYNC for driver in ("psycopg", "asyncpg")),
    Asyncpg,
    AsyncpgPool,
    Django,
    DjangoOnPsycopg2,
    DjangoFoundByItself,
]
