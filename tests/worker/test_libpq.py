"""libpq by way of ctypes gives what psycopg gives, for what upkeep asks."""

from __future__ import annotations

import select
import threading
from datetime import timedelta
from typing import Any

import pytest

from pgjobs import calls
from pgjobs.calls import Call, Report
from pgjobs.errors import SchemaTooOld
from pgjobs.settings import CONNECT
from pgjobs.worker.libpq import Broken, Connection, Refused
from tests import conftest
from tests.sql.by_hand import one, until


def ask(connection: Connection, sql: str, *params: object) -> list[tuple[object, ...]]:
    return list(connection.rows(sql, params))


@pytest.fixture
def connection(dsn: str) -> Connection:
    return Connection(dsn, {**CONNECT, "application_name": "by libpq"})


def test_parameters_and_rows_are_what_they_are(connection: Connection) -> None:
    assert ask(connection, "select 1, 2::bigint, true, false, null, 'ä ☃', '{}'::jsonb") == [
        (1, 2, True, False, None, "ä ☃", "{}")
    ]
    params = 5, "it's ☃", None, True, timedelta(seconds=1.5)
    sql = "select %s::integer, %s::text, %s::text, %s::boolean, extract(epoch from %s::interval)::text"
    assert ask(connection, sql, *params) == [(5, "it's ☃", None, True, "1.500000")]
    assert ask(connection, "select n from generate_series(1, 3) n") == [(1,), (2,), (3,)]
    assert ask(connection, "select where false") == []
    connection.close()


def test_every_call_of_the_upkeep_can_be_read(connection: Connection, db: conftest.Connection) -> None:
    def do(call: Call[Any]) -> Any:
        return call.read(connection.rows(call.sql, call.params))

    do(calls.session())
    worker = do(calls.register("w", "h", 1, "0", ["a", 'b "'], 5, timedelta(seconds=60)))
    assert worker == 1
    supervisor = do(calls.hold())
    since = str(one(db, "select pgjobs.now()"))
    assert do(calls.renew_many(supervisor, [Report(1, 2, since, True), Report(9, 0, None, False)])) == [9]
    assert db.execute("select running, stopping, supervisor, lease from pgjobs.workers").fetchall() == [
        (2, True, supervisor, timedelta(seconds=60))
    ]
    assert do(calls.rescue(10, [1])) == (0, 0)
    assert do(calls.prune()) is False
    connection.close()


def test_a_statement_that_is_refused_leaves_the_connection_usable(connection: Connection) -> None:
    with pytest.raises(Refused, match="division by zero"):
        ask(connection, "select 1 / 0")
    with pytest.raises(SchemaTooOld, match="run `pgjobs migrate`"):
        ask(connection, "select pgjobs.nothing_of_this_name()")
    assert ask(connection, "select 1") == [(1,)]
    connection.close()


def test_a_connection_that_the_server_ended_is_broken_and_known_to_be(
    connection: Connection, db: conftest.Connection
) -> None:
    assert not connection.has_ended()
    [(pid,)] = ask(connection, "select pg_backend_pid()")
    db.execute("select pg_terminate_backend(%s)", (pid,))
    until(db, "not exists (select from pg_stat_activity where pid = %s)", pid)
    # Its farewell comes a moment later, and the end of the connection another moment.
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    while not connection.has_ended():
        assert poll.poll(10_000)
    with pytest.raises(Broken):
        ask(connection, "select 1")
    connection.close()
    assert connection.has_ended()
    with pytest.raises(Broken, match="closed"):
        ask(connection, "select 1")


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(Broken, match=r"connection to server at .* failed: Connection refused"):
        Connection("postgresql://me:secret@127.0.0.1:1/nothing", CONNECT)


def test_settings_win_over_the_dsn(dsn: str) -> None:
    connection = Connection(f"{dsn} application_name=mine", {"application_name": "ours"})
    assert ask(connection, "show application_name") == [("ours",)]
    connection.close()


def test_other_threads_run_while_the_server_is_asked(connection: Connection, db: conftest.Connection) -> None:
    db.execute("select pg_advisory_lock(42)")
    waiting = threading.Thread(target=ask, args=(connection, "select pg_advisory_xact_lock(42)"))
    waiting.start()
    until(db, "exists (select from pg_stat_activity where application_name = 'by libpq' and wait_event = 'advisory')")
    db.execute("select pg_advisory_unlock(42)")
    waiting.join(10)
    assert not waiting.is_alive()
    connection.close()
