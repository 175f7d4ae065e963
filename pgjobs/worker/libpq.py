"""libpq by way of ctypes: the one connection of a supervisor, without the 25 MB that psycopg takes of a process' memory.

Only what upkeep needs: connect, a statement with parameters and its rows, and whether the server has gone. Parameters and
rows travel as text. The library is the one that psycopg brings along, else the system's. Calls release the interpreter's
lock while they wait.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import select
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cache
from typing import Any

from pgjobs.errors import ConfigurationError, PgjobsError, for_sqlstate

_BAD = 1  # ConnStatusType
_EMPTY, _COMMAND_OK, _TUPLES_OK = 0, 1, 2  # ExecStatusType
_SQLSTATE, _MESSAGE = ord("C"), ord("M")  # fields of a diagnosis
_BOOL, _INTEGERS = 16, (20, 21, 23)  # types by their oid

Value = str | int | bool | None


class Broken(PgjobsError):
    """The connection is gone, or could not be made."""


class Refused(PgjobsError):
    """The server refused a statement, for no reason of ours."""


class Connection:
    """A connection in autocommit mode. Not for two threads at once. Raises Broken when it cannot be made.

    Arguments: dsn; settings, what else libpq should know, such as connect_timeout in seconds.
    """

    def __init__(self, dsn: str, settings: Mapping[str, Any]) -> None:
        self._pq = library()
        names = ["dbname", *settings]
        values = [dsn, *map(str, settings.values())]
        self._conn: int | None = self._pq.PQconnectdbParams(_strings(names), _strings(values), 1)
        if self._conn is None or self._pq.PQstatus(self._conn) == _BAD:
            error = self._error()
            self.close()
            raise Broken(error)

    def rows(self, sql: str, params: tuple[Any, ...]) -> list[tuple[Value, ...]]:
        """Run a statement with %s for each parameter, and return its rows. Raises Broken, Refused, or an error of ours."""
        if self._conn is None:
            raise Broken("the connection is closed")
        parts = sql.split("%s")
        text = parts[0] + "".join(f"${n}{part}" for n, part in enumerate(parts[1:], 1))
        given = _strings([_text(param) for param in params])
        result = self._pq.PQexecParams(self._conn, text.encode(), len(params), None, given, None, None, 0)
        try:
            if self._pq.PQresultStatus(result) not in (_EMPTY, _COMMAND_OK, _TUPLES_OK):
                raise self._refusal(result)
            return list(self._read(result))
        finally:
            self._pq.PQclear(result)

    def fileno(self) -> int:
        """The socket, to wait on: when nothing was asked and something comes, look whether it `has_ended`."""
        return int(self._pq.PQsocket(self._conn))

    def has_ended(self) -> bool:
        """Whether the server has closed the connection, as far as can be told without asking it."""
        if self._conn is None or self._pq.PQstatus(self._conn) == _BAD:
            return True
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        for _ in range(3):  # a farewell comes first, and then the end
            if self._pq.PQstatus(self._conn) == _BAD:
                return True
            if not poll.poll(0):
                return False
            self._pq.PQconsumeInput(self._conn)
        return bool(self._pq.PQstatus(self._conn) == _BAD)

    def close(self) -> None:
        """Close it; again, if you like."""
        conn, self._conn = self._conn, None
        if conn is not None:
            self._pq.PQfinish(conn)

    def _read(self, result: int) -> Iterator[tuple[Value, ...]]:
        pq = self._pq
        columns = range(pq.PQnfields(result))
        types = [pq.PQftype(result, column) for column in columns]
        for row in range(pq.PQntuples(result)):
            yield tuple(
                None
                if pq.PQgetisnull(result, row, column)
                else _value(pq.PQgetvalue(result, row, column), types[column])
                for column in columns
            )

    def _refusal(self, result: int) -> PgjobsError:
        if self._pq.PQstatus(self._conn) == _BAD:
            return Broken(self._error())
        sqlstate, message = (
            (self._pq.PQresultErrorField(result, field) or b"").decode(errors="replace")
            for field in (_SQLSTATE, _MESSAGE)
        )
        if sqlstate.startswith(("08", "53", "57P")):  # as in connections.is_broken
            return Broken(message)
        return for_sqlstate(sqlstate, message) or Refused(message or self._error())

    def _error(self) -> str:
        error: bytes = self._pq.PQerrorMessage(self._conn) or b"no memory for a connection"
        lines = error.decode(errors="replace").split("\n")
        return lines[0].strip().rstrip(".")


def _value(text: bytes, type: int) -> Value:
    if type == _BOOL:
        return text == b"t"
    return int(text) if type in _INTEGERS else text.decode()


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "t" if value else "f"
    return f"{value.total_seconds()} seconds" if isinstance(value, timedelta) else str(value)


def _strings(texts: list[str] | list[str | None]) -> ctypes.Array[ctypes.c_char_p]:
    """An array of C strings with a null at its end."""
    return (ctypes.c_char_p * (len(texts) + 1))(*(None if text is None else text.encode() for text in texts), None)


@cache
def library() -> ctypes.CDLL:
    """The library, loaded once. Raises ConfigurationError when there is none."""
    path = _bundled()
    if path is None:
        from ctypes.util import find_library  # not at the top: it costs 2 MB and is hardly ever needed

        path = find_library("pq")
    if path is None:
        raise ConfigurationError("There is no libpq: install psycopg[binary], or the PostgreSQL client library.")
    pq = ctypes.CDLL(path)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    texts = ctypes.POINTER(text)
    for name, result, *arguments in (
        ("PQconnectdbParams", pointer, texts, texts, number),
        ("PQstatus", number, pointer),
        ("PQsocket", number, pointer),
        ("PQconsumeInput", number, pointer),
        ("PQerrorMessage", text, pointer),
        ("PQfinish", None, pointer),
        ("PQexecParams", pointer, pointer, text, number, pointer, texts, pointer, pointer, number),
        ("PQresultStatus", number, pointer),
        ("PQresultErrorField", text, pointer, number),
        ("PQnfields", number, pointer),
        ("PQntuples", number, pointer),
        ("PQftype", ctypes.c_uint, pointer, number),
        ("PQgetisnull", number, pointer, number, number),
        ("PQgetvalue", text, pointer, number, number),
        ("PQclear", None, pointer),
    ):
        function = getattr(pq, name)
        function.restype, function.argtypes = result, arguments
    return pq


def _bundled() -> str | None:
    """Where psycopg[binary] keeps its libpq, which is found without importing it."""
    spec = importlib.util.find_spec("psycopg_binary")
    if spec is None or spec.origin is None:
        return None
    package = os.path.dirname(spec.origin)
    for folder in (f"{package}.libs", os.path.join(package, ".dylibs")):
        if os.path.isdir(folder):
            for name in os.listdir(folder):
                if name.startswith("libpq"):
                    return os.path.join(folder, name)
    return None
