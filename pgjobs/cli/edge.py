"""The edge: every error of a command becomes one sentence for a person, here and nowhere else."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click

from pgjobs.cli.target import Target
from pgjobs.errors import ConnectionFailed, PgjobsError, for_sqlstate

ASK_FOR_TRACEBACK = "Run again with --debug for the traceback."


@contextmanager
def one_sentence_per_error(target: Target) -> Iterator[None]:
    """Turn whatever is raised inside into a message of click's, which ends the program with exit status 1."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if target.debug:
            click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
        raise click.ClickException(sentence(error)) from error


def sentence(error: Exception) -> str:
    """Say what went wrong and what to do next."""
    return _without_passwords(_sentence(error))


def _sentence(error: Exception) -> str:
    if isinstance(error, ConnectionFailed):
        return f"{_short(str(error))}. {_CHECK_DSN}"
    if isinstance(error, PgjobsError):
        return str(error)
    # SQLAlchemy, in a migration, wraps psycopg's errors.
    original = getattr(error, "orig", None) or error
    if type(original).__module__.partition(".")[0] == "psycopg":
        return _of_database(original)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}{': ' if text else ''}{text}. {ASK_FOR_TRACEBACK}"


_CHECK_DSN = "Is the server up, and the DSN right (--dsn, PGJOBS_DSN, DATABASE_URL)?"


def _of_database(error: Exception) -> str:
    import psycopg

    from pgjobs.connections import is_broken, reason

    sqlstate = getattr(error, "sqlstate", None)
    diag = getattr(error, "diag", None)
    message = getattr(diag, "message_primary", None) or reason(error)
    ours = for_sqlstate(sqlstate, message)
    if ours is not None:
        return str(ours)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return f"The database refused: {message}. Connect as a role that may, or have the right granted to this one."
    if isinstance(error, psycopg.ProgrammingError) and sqlstate is None:
        return f"The DSN cannot be read: {message}. It looks like postgresql://user@host:5432/database."
    if is_broken(error):
        return f"The connection to the database broke: {_short(message)}. {_CHECK_DSN}"
    return f"The database refused: {message}. {ASK_FOR_TRACEBACK}"


def _short(text: str) -> str:
    """One line, without what libpq says twice."""
    line = text.strip().splitlines()[0].strip() if text.strip() else ""
    return line.replace("connection failed: ", "", 1).replace("FATAL:  ", "", 1).rstrip(".")


def _without_passwords(text: str) -> str:
    # libpq quotes a DSN that it cannot read.
    return re.sub(r"(://[^:@/\s]*:)[^@\s]+@", r"\1***@", re.sub(r"(password\s*=\s*)\S+", r"\1***", text))
