"""Django's `atomic` is found by itself, if it is open on the database of the app, and only then."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections, transaction
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgjobs
from tests.client.conftest import Backends, Face
from tests.client.kinds import Django

Task = pgjobs.Task[..., Any]
Count = Callable[[], int]


@pytest.fixture(autouse=True)
def django(dsn: str) -> Iterator[None]:
    """Django, configured for the test's database."""
    kind = Django(Face(dsn), dsn)
    with kind.stack:
        kind.open()
        yield


def test_inside_atomic_a_job_is_part_of_its_transaction(app: pgjobs.App, task: Task, count: Count) -> None:
    with transaction.atomic():
        id = task.enqueue(letter_id=1)
        task.options(priority=1).enqueue(letter_id=2)
        app.enqueue_many([task.spec(letter_id=3)])
        assert app.job(id).payload == {"letter_id": 1}
        assert count() == 0
    assert count() == 3


def test_what_is_rolled_back_never_was(app: pgjobs.App, task: Task, count: Count) -> None:
    def fail(id: int) -> None:
        with transaction.atomic():
            task.enqueue(letter_id=id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail(1)
    with transaction.atomic():
        task.enqueue(letter_id=2)
        with pytest.raises(ZeroDivisionError):
            fail(3)
    assert count() == 1


def test_a_refused_job_is_an_error_of_ours_and_breaks_the_block_as_a_database_error_does(
    app: pgjobs.App, task: Task, count: Count
) -> None:
    def refused() -> None:
        with transaction.atomic():
            app.enqueue_spec(pgjobs.Spec("t" * 201))

    with transaction.atomic():
        task.enqueue(letter_id=1)
        with pytest.raises(pgjobs.InvalidJob):
            refused()
        task.enqueue(letter_id=2)
    assert count() == 2
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(pgjobs.TransactionFailed):
            task.enqueue(letter_id=3)
    assert count() == 2


def test_outside_of_atomic_a_job_is_on_a_connection_of_our_own(task: Task, count: Count, backends: Backends) -> None:
    connection.ensure_connection()
    task.enqueue(letter_id=1)
    assert len(backends("= 1")) == 1
    assert count() == 1


def test_a_transaction_that_is_named_goes_before_the_one_that_is_found(
    dsn: str, app: pgjobs.App, task: Task, count: Count
) -> None:
    face = Face(dsn)
    with transaction.atomic():
        other = face.connect()
        task.options(tx=other).enqueue(letter_id=1)
        with app.using(other):
            task.enqueue(letter_id=2)
        with app.using(None):
            task.enqueue(letter_id=3)
        assert count() == 1
        other.commit()
        assert count() == 3
        transaction.set_rollback(True)
    assert count() == 3
    face.close()


def test_a_database_by_another_name_is_asked_whether_it_is_the_same(dsn: str, count: Count) -> None:
    host = conninfo_to_dict(dsn)["host"]
    app = pgjobs.App(make_conninfo(dsn, host="localhost" if host == "127.0.0.1" else "127.0.0.1"))

    @app.task
    def read_letter() -> None: ...

    with transaction.atomic():
        read_letter.enqueue()
        assert count() == 0
    assert count() == 1
    app.close()


def test_another_database_is_left_alone(empty_dsn: str, task: Task, count: Count) -> None:
    kind = Django(Face(empty_dsn), empty_dsn)
    with kind.stack:
        kind.open()
        with transaction.atomic():
            task.enqueue(letter_id=1)
            assert count() == 1
            transaction.set_rollback(True)
        assert count() == 1


def test_atomic_of_another_thread_is_not_ours(task: Task, count: Count) -> None:
    with ThreadPoolExecutor(1) as threads, transaction.atomic():
        threads.submit(task.enqueue, letter_id=1).result()
        threads.submit(connections.close_all).result()
        assert count() == 1


def test_atomic_is_enough_where_a_transaction_is_required(dsn: str, count: Count) -> None:
    app = pgjobs.App(dsn, require_tx=True)

    @app.task
    def read_letter() -> None: ...

    with transaction.atomic():
        read_letter.enqueue()
    assert count() == 1
    with pytest.raises(pgjobs.TransactionRequired):
        read_letter.enqueue()
    with transaction.atomic(), app.using(None), pytest.raises(pgjobs.TransactionRequired):
        read_letter.enqueue()
    assert count() == 1
    app.close()


def test_in_an_event_loop_a_connection_of_django_is_refused_in_a_sentence(task: Task) -> None:
    with pytest.raises(pgjobs.ConfigurationError, match=r"^A Django connection would block the event loop: .*\.$"):
        asyncio.run(task.options(tx=connection).aenqueue(letter_id=1))


def test_django_that_is_imported_and_not_configured_is_no_trouble(dsn: str) -> None:
    code = (
        "import sys, django.db, pgjobs; app = pgjobs.App(sys.argv[1])\n"
        "@app.task\n"
        "def read_letter(): ...\n"
        "assert read_letter.enqueue(); app.close()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, dsn], check=True)
