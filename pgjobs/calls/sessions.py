"""What is said to a session, and what it tells of the server it is of."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from pgjobs.calls.call import Call, Rows
from pgjobs.errors import SchemaTooNew, SchemaTooOld
from pgjobs.version import SCHEMA_VERSION


def check_schema() -> Call[None]:
    """Check that the schema fits this version. Raises SchemaTooOld or SchemaTooNew."""

    def read(rows: Rows) -> None:
        [(version, serves_from)] = rows
        if version < SCHEMA_VERSION:
            raise SchemaTooOld(
                f"The pgjobs schema is at version {version} and this pgjobs needs {SCHEMA_VERSION}: run `pgjobs migrate`."
            )
        if serves_from > SCHEMA_VERSION:
            raise SchemaTooNew(
                f"The pgjobs schema serves pgjobs from version {serves_from} on and this one is {SCHEMA_VERSION}:"
                " install a newer pgjobs."
            )

    return Call("select version, serves_from from pgjobs.schema_version()", (), read)


def now() -> Call[datetime]:
    """What time it is, by the clock that decides."""
    return Call("select pgjobs.now()", (), lambda rows: cast(datetime, rows[0][0]))


def begin() -> Call[None]:
    """Begin a transaction, where a library has no word for it."""
    return Call("begin", (), lambda rows: None)


def commit() -> Call[None]:
    """Commit it."""
    return Call("commit", (), lambda rows: None)


def rollback() -> Call[None]:
    """Roll it back."""
    return Call("rollback", (), lambda rows: None)


def listen(channel: str) -> Call[None]:
    """Hear what is said on a channel. The name is ours and needs no quotes."""
    return Call(f"listen {channel}", (), lambda rows: None)


def notify(channel: str, payload: str) -> Call[None]:
    """Say something on a channel."""
    return Call("select pg_notify(%s::text, %s::text)", (channel, payload), lambda rows: None)


def session() -> Call[None]:
    """Settings for a session of our own, whatever the defaults of role and database are."""
    return Call(f"select {_SETTINGS[0]}", _SETTINGS[1], lambda rows: None)


def checked_session() -> Call[None]:
    """The same, and check that the schema fits, in one round trip. Raises as `check_schema` does."""
    check = check_schema()
    sql = check.sql.replace("select ", f"select {_SETTINGS[0]}, ", 1)
    return Call(sql, _SETTINGS[1], lambda rows: check.read([row[-2:] for row in rows]))


_SET = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "jit": "off",
    "DateStyle": "ISO",
    "TimeZone": "UTC",
}
_SETTINGS = (
    ", ".join("set_config(%s, %s, false)" for _ in _SET),
    tuple(text for setting in _SET.items() for text in setting),
)


def database() -> Call[tuple[Any, ...]]:
    """Which database of which server this is: the same for two connections if, and only if, they reach the same one."""
    return Call(
        "select extract(epoch from pg_postmaster_start_time())::text, oid::bigint from pg_catalog.pg_database"
        " where datname = current_database()",
        (),
        lambda rows: tuple(rows[0]),
    )
