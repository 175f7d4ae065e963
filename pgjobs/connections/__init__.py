"""The caller's connection, of whatever library, as one we can run calls on; and the one edge where errors are mapped.

One module a library. None is imported that the caller has not imported, but psycopg, which is ours.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import Any

from pgjobs.connections import of_asyncpg, of_django, of_psycopg, of_sqlalchemy
from pgjobs.connections.errors import connecting, is_broken, reason, translated
from pgjobs.connections.of_django import DjangoRunner, open_transactions
from pgjobs.connections.of_psycopg import AsyncPsycopgRunner, PsycopgRunner
from pgjobs.connections.own import OWN, AsyncOwnConnection, AsyncOwnRunner, OwnConnection, OwnRunner
from pgjobs.connections.runner import AsyncRunner, Runner, arun, arun_copy, run, run_copy
from pgjobs.errors import ConfigurationError

__all__ = [
    "OWN",
    "AsyncOwnConnection",
    "AsyncOwnRunner",
    "AsyncPsycopgRunner",
    "AsyncRunner",
    "DjangoRunner",
    "OwnConnection",
    "OwnRunner",
    "PsycopgRunner",
    "Runner",
    "arun",
    "arun_copy",
    "async_runner_for",
    "connecting",
    "in_one_async_transaction",
    "in_one_transaction",
    "is_broken",
    "open_transactions",
    "reason",
    "run",
    "run_copy",
    "runner_for",
    "translated",
]


def runner_for(tx: Any) -> Runner:
    """Return the runner for a caller's connection. Raises ConfigurationError for what is not one."""
    of_asyncpg.refuse(tx)
    runner = of_psycopg.runner(tx) or of_django.runner(tx) or of_sqlalchemy.runner(tx)
    if runner is None:
        raise ConfigurationError(
            "tx must be a psycopg connection or cursor, a SQLAlchemy Connection or Session, or a Django connection,"
            f" not {type(tx).__name__}."
        )
    return runner


async def async_runner_for(tx: Any) -> AsyncRunner:
    """Return the runner for a caller's connection in an event loop. Raises ConfigurationError for what is not one."""
    of_django.refuse(tx)
    runner = of_psycopg.async_runner(tx) or of_asyncpg.async_runner(tx) or await of_sqlalchemy.async_runner(tx)
    if runner is None:
        raise ConfigurationError(
            "tx must be a psycopg AsyncConnection or AsyncCursor, a SQLAlchemy AsyncConnection or AsyncSession, or an"
            f" asyncpg connection, not {type(tx).__name__}."
        )
    return runner


def in_one_transaction(runner: Runner) -> AbstractContextManager[Any]:
    """Make several statements one transaction, if each would be one by itself: in autocommit mode, outside a block."""
    return nullcontext() if runner.in_transaction() else runner.transaction()


def in_one_async_transaction(runner: AsyncRunner) -> AbstractAsyncContextManager[Any]:
    """The same as `in_one_transaction`, in an event loop."""
    return nullcontext() if runner.in_transaction() else runner.transaction()
