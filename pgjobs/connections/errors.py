"""The one edge where errors of a database library become ours, whatever library it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from pgjobs.errors import ConnectionFailed, PgjobsError, for_sqlstate

CLOSED = "The connection that was given as tx is closed: give one that is open."


@contextmanager
def translated(connection: object = None) -> Iterator[None]:
    """Turn errors of the database that are meant for people into ours, by SQLSTATE; let all others pass.

    Arguments: connection, the library's own, which may know who is refused.
    """
    try:
        yield
    except Exception as error:
        if (ours := translation(error, connection)) is not None:
            raise ours from error
        raise


def translation(error: Exception, connection: object = None) -> PgjobsError | None:
    """Return the error of ours that one of the database stands for; None if it is none, or is ours already."""
    if isinstance(error, PgjobsError):
        return None
    sqlstate, message = _told_by_server(error)
    return for_sqlstate(sqlstate, message, _user(connection))


def _user(connection: object) -> str | None:
    """Return as whom a connection of psycopg's was made; None where that is not known."""
    with suppress(psycopg.Error):  # it is closed
        if isinstance(connection, (psycopg.Connection, psycopg.AsyncConnection)):
            return connection.info.user
    return None


def _told_by_server(error: BaseException) -> tuple[str | None, str]:
    """Return the SQLSTATE and the message of the driver's own error, which SQLAlchemy and Django wrap."""
    sqlstate, message = None, ""
    inner: BaseException | None = error
    for _ in range(4):
        if inner is None:
            break
        found = getattr(inner, "sqlstate", None) or getattr(inner, "pgcode", None)
        if found:
            # psycopg and psycopg2 keep the message in diag, asyncpg as an attribute: without DETAIL, HINT and CONTEXT.
            text = getattr(getattr(inner, "diag", None), "message_primary", None) or getattr(inner, "message", None)
            sqlstate, message = found, text or str(inner)
        inner = getattr(inner, "orig", None) or inner.__cause__
    return sqlstate, message


@contextmanager
def connecting() -> Iterator[None]:
    """Turn a failure to connect into ConnectionFailed with the server's own reason."""
    try:
        yield
    except psycopg.ProgrammingError as error:
        if error.sqlstate is not None:
            raise  # no matter of the connection
        # libpq quotes what it could not read, which may hold a password: only an unknown name is passed on.
        unknown = re.match(
            r"invalid (connection option|URI query parameter)[^\n]*|bad value for connect_timeout.*", str(error)
        )
        raise ConnectionFailed(
            f"The DSN cannot be read{f' ({unknown[0]})' if unknown else ''}: it must look like"
            " postgresql://user:password@host:5432/database, with special characters percent-encoded."
        ) from None
    except (psycopg.Error, UnicodeError) as error:  # UnicodeError: a host that cannot be a name
        raise ConnectionFailed(f"The database cannot be reached: {reason(error)}.") from error


def reason(error: Exception) -> str:
    """Return what went wrong with a connection in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return re.sub("^connection (failed|is bad): ", "", lines[0]).replace("FATAL:  ", "", 1).rstrip(".")


def is_broken(error: BaseException) -> bool:
    """Whether an error says that the connection or the server is at fault, and not what was asked: later it may work.

    Without an SQLSTATE the connection broke under us; with one, its class says: 08 connection, 53 resources (a full disk,
    too many connections), 57P shutdown and the like.
    """
    if isinstance(error, psycopg.Error):
        sqlstate = error.sqlstate
        if sqlstate is None:
            return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return sqlstate.startswith(("08", "53", "57P"))
    return isinstance(error, OSError)
