"""What went wrong, for a person at a command line: one sentence, and what to do next."""

from __future__ import annotations

import re
from contextlib import nullcontext

from pgjobs.errors import ConnectionFailed, PgjobsError

CHECK_DSN = "Is the server up, and the DSN right (--dsn, PGJOBS_DSN, DATABASE_URL)?"
ASK_FOR_TRACEBACK = "Run again with --debug for the traceback."


def sentence(error: Exception) -> str:
    """Say what went wrong and what to do next."""
    original = getattr(error, "orig", error)  # SQLAlchemy, in a migration, wraps psycopg's errors
    if type(original).__module__.partition(".")[0] == "psycopg":
        return _of_psycopg(original)
    if isinstance(error, ConnectionFailed) and error.__cause__ is not None:
        what = str(error).splitlines()[0].rstrip(".")
        missing = re.search(r'database "([^"]+)" does not exist', what)
        advice = f"Correct the DSN, or create it with `createdb {missing[1]}`." if missing else CHECK_DSN
        return f"{what}. {advice}"
    if isinstance(error, PgjobsError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}. {ASK_FOR_TRACEBACK}"


def _of_psycopg(error: Exception) -> str:
    import psycopg  # here, where it was imported before, or there were no such error

    from pgjobs.connections import connecting, is_broken, reason, translated

    cannot_connect = is_broken(error)
    if isinstance(error, psycopg.ProgrammingError):
        cannot_connect = error.sqlstate is None  # a DSN that cannot be read
    try:
        with translated(), connecting() if cannot_connect else nullcontext():
            raise error
    except PgjobsError as ours:
        return sentence(ours)
    except psycopg.Error:
        return f"The database refused: {reason(error)}. {ASK_FOR_TRACEBACK}"
