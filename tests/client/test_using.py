"""`app.using(tx)`: every enqueue inside is on that transaction, and nobody else's is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

import pgjobs
from tests.client.conftest import Face

Task = pgjobs.Task[..., Any]
Count = Callable[[], int]


def test_every_enqueue_inside_is_on_that_transaction(face: Face, app: pgjobs.App, task: Task, count: Count) -> None:
    connection = face.connect()
    with app.using(connection):
        face.enqueue(task, letter_id=1)
        face.enqueue(task.options(priority=1), letter_id=2)
        face.enqueue_many(app, [task.spec(letter_id=3)])
        assert count() == 0
    face.do(connection.commit())
    assert count() == 3


def test_an_exception_inside_leaves_it_and_the_transaction_to_the_caller(
    face: Face, app: pgjobs.App, task: Task, count: Count
) -> None:
    connection = face.connect()

    def fail() -> None:
        with face.block(connection.transaction()), app.using(connection):
            face.enqueue(task, letter_id=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert count() == 0
    face.enqueue(task, letter_id=2)
    assert count() == 1


def test_inner_blocks_go_before_outer_ones_and_tx_before_both(
    face: Face, app: pgjobs.App, task: Task, count: Count
) -> None:
    outer, inner, given = face.connect(), face.connect(), face.connect()
    with app.using(outer):
        with app.using(inner):
            face.enqueue(task, letter_id=1)
            face.enqueue(task.options(tx=given), letter_id=2)
        face.enqueue(task, letter_id=3)
    for connection, seen in ((inner, 1), (outer, 2), (given, 3)):
        face.do(connection.commit())
        assert count() == seen


def test_using_nothing_leaves_the_block_for_a_while(face: Face, app: pgjobs.App, task: Task, count: Count) -> None:
    connection = face.connect()
    with app.using(connection):
        with app.using(None):
            face.enqueue(task, letter_id=1)
        face.enqueue(task, letter_id=2)
    assert count() == 1


def test_two_apps_do_not_share_a_transaction(face: Face, dsn: str, app: pgjobs.App, task: Task, count: Count) -> None:
    other = pgjobs.App(dsn)

    @other.task
    def send_letter() -> None: ...

    connection = face.connect()
    with app.using(connection):
        face.enqueue(send_letter)
        face.enqueue(task, letter_id=1)
    assert count() == 1
    face.close_app(other)


def test_threads_do_not_share_a_transaction(dsn: str, app: pgjobs.App, task: Task, count: Count) -> None:
    together = threading.Barrier(8)

    def work(number: int) -> None:
        with psycopg.connect(dsn) as connection:
            with app.using(connection):
                together.wait()
                task.enqueue(letter_id=number)
                together.wait()
            if number % 2:
                connection.rollback()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert count() == 4
    # A thread started inside a block is outside it.
    with psycopg.connect(dsn) as connection, app.using(connection):
        thread = threading.Thread(target=task.enqueue, kwargs={"letter_id": 9})
        thread.start()
        thread.join()
        assert count() == 5


def test_asyncio_tasks_do_not_share_a_transaction(dsn: str, app: pgjobs.App, task: Task, count: Count) -> None:
    async def work(number: int, together: asyncio.Barrier) -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            with app.using(connection):
                await together.wait()
                await task.aenqueue(letter_id=number)
                await together.wait()
            if number % 2:
                await connection.rollback()

    async def main() -> None:
        together = asyncio.Barrier(8)
        await asyncio.gather(*(work(number, together) for number in range(8)))
        await app.aclose()

    asyncio.run(main())
    assert count() == 4


def test_an_asyncio_task_started_inside_belongs_to_the_block(
    dsn: str, app: pgjobs.App, task: Task, count: Count
) -> None:
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            with app.using(connection):
                await asyncio.gather(*(task.aenqueue(letter_id=number) for number in range(5)))
            assert count() == 0

    asyncio.run(main())
    assert count() == 5
