"""What runs a statement: the one thing that differs between libraries. Each has its own module beside this one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol, TypeVar

from pgjobs.calls import Call, Copy, Rows
from pgjobs.connections.errors import translation

T = TypeVar("T")


class Runner(Protocol):
    """Runs statements on one connection."""

    def rows(self, sql: str, params: tuple[Any, ...]) -> Rows:
        """Run a statement with %s for each parameter and return all its rows."""

    def in_transaction(self) -> bool:
        """Whether what runs next belongs to a transaction that somebody else will commit."""

    def is_alone(self) -> bool:
        """Whether what runs next is a transaction by itself, for sure."""

    def transaction(self) -> AbstractContextManager[Any]:
        """Return a block whose statements are one transaction; only for use when `in_transaction` says no."""

    def can_copy(self) -> bool:
        """Whether `copy` works on this connection as it is now."""

    def copy(self, copy: Copy) -> None:
        """Copy rows into a table."""


class AsyncRunner(Protocol):
    """The same in an event loop."""

    async def rows(self, sql: str, params: tuple[Any, ...]) -> Rows: ...

    def in_transaction(self) -> bool: ...

    def is_alone(self) -> bool: ...

    def transaction(self) -> AbstractAsyncContextManager[Any]: ...

    def can_copy(self) -> bool: ...

    async def copy(self, copy: Copy) -> None: ...


def run(runner: Runner, call: Call[T]) -> T:
    """Run a call and read its result. Raises a PgjobsError for what the database refused in our words."""
    try:
        rows = runner.rows(call.sql, call.params)
    except Exception as error:
        if (ours := translation(error, getattr(runner, "connection", None))) is not None:
            raise ours from error
        raise
    return call.read(rows)


async def arun(runner: AsyncRunner, call: Call[T]) -> T:
    """The same as `run`, in an event loop."""
    try:
        rows = await runner.rows(call.sql, call.params)
    except Exception as error:
        if (ours := translation(error, getattr(runner, "connection", None))) is not None:
            raise ours from error
        raise
    return call.read(rows)


def run_copy(runner: Runner, copy: Copy) -> None:
    """Copy rows. Raises as `run` does."""
    try:
        runner.copy(copy)
    except Exception as error:
        if (ours := translation(error, getattr(runner, "connection", None))) is not None:
            raise ours from error
        raise


async def arun_copy(runner: AsyncRunner, copy: Copy) -> None:
    """The same as `run_copy`, in an event loop."""
    try:
        await runner.copy(copy)
    except Exception as error:
        if (ours := translation(error, getattr(runner, "connection", None))) is not None:
            raise ours from error
        raise
