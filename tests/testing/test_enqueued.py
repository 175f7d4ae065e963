"""Assertions about what was enqueued, and what they say when it was not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import pgjobs
from pgjobs.testing import (
    aassert_enqueued,
    aenqueued,
    arefute_enqueued,
    assert_enqueued,
    enqueued,
    in_memory,
    inline,
    refute_enqueued,
)


@pytest.fixture
def app() -> Iterator[pgjobs.App]:
    """An app in memory."""
    app = pgjobs.App()
    with in_memory(app):
        yield app


@pytest.fixture
def read(app: pgjobs.App) -> pgjobs.Task[..., Any]:
    @app.task(queue="ocr")
    def read(letter_id: int, language: str = "en", parts: Any = None) -> None: ...

    return read


def test_jobs_are_listed_oldest_first_by_task_and_arguments(app: pgjobs.App, read: pgjobs.Task[..., Any]) -> None:
    @app.task
    def send() -> None: ...

    first, second, third = read.enqueue(1), read.enqueue(2, language="de"), send.enqueue()
    assert [job.id for job in enqueued(app)] == [first, second, third]
    assert [job.id for job in enqueued(app, read)] == [first, second]
    assert [job.id for job in enqueued(app, "send")] == [third]
    assert [job.id for job in enqueued(app, read, language="de")] == [second]
    assert [job.payload for job in enqueued(app, read, letter_id=1)] == [{"letter_id": 1}]


def test_a_job_that_is_there_is_returned(app: pgjobs.App, read: pgjobs.Task[..., Any]) -> None:
    id = read.options(priority=pgjobs.Priority.HIGH).enqueue(1, language="de")
    (job,) = assert_enqueued(app, read, letter_id=1)
    assert (job.id, job.queue, job.priority) == (id, "ocr", pgjobs.Priority.HIGH)
    assert assert_enqueued(app, "read", count=1) == [job]
    assert assert_enqueued(app, read, count=0, letter_id=2) == []
    refute_enqueued(app, read, letter_id=2)


def test_arguments_are_compared_as_a_job_carries_them(app: pgjobs.App, read: pgjobs.Task[..., Any]) -> None:
    read.enqueue(1, parts=(1, [2]))
    assert_enqueued(app, read, parts=([1, (2,)]))


def test_a_missing_job_is_reported_with_what_comes_near(app: pgjobs.App, read: pgjobs.Task[..., Any]) -> None:
    read.enqueue(8, language="en")
    read.enqueue(7, language="en")
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(app, read, letter_id=7, language="de")
    assert str(caught.value) == (
        "No job of read with letter_id=7, language='de' was enqueued.\n"
        "Near misses:\n"
        "  job 2 on ocr, ready: letter_id=7, language='en'; differs in language\n"
        "  job 1 on ocr, ready: letter_id=8, language='en'; differs in letter_id, language"
    )


def test_only_the_nearest_of_many_are_shown(app: pgjobs.App, read: pgjobs.Task[..., Any]) -> None:
    for n in range(20):
        read.enqueue(n, parts="x" * 1000)
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(app, read, letter_id=20)
    assert "The nearest of 20 others:" in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_a_task_without_jobs_is_reported_with_those_that_have_some(
    app: pgjobs.App, read: pgjobs.Task[..., Any]
) -> None:
    @app.task
    def send() -> None: ...

    with pytest.raises(AssertionError, match=r"^No job of send was enqueued.\nThere are no jobs at all.$"):
        assert_enqueued(app, send)
    read.enqueue(1)
    read.enqueue(2)
    with pytest.raises(AssertionError, match=r"^No job of send was enqueued.\nThere are jobs of: read \(2\).$"):
        assert_enqueued(app, send)


def test_a_wrong_number_is_reported_with_those_that_are_there(app: pgjobs.App, read: pgjobs.Task[..., Any]) -> None:
    read.enqueue(1)
    with pytest.raises(AssertionError) as caught:
        assert_enqueued(app, read, count=2)
    assert str(caught.value) == (
        "2 jobs of read expected, 1 job enqueued.\n"  #
        "  job 1 on ocr, ready: letter_id=1"
    )
    with pytest.raises(AssertionError, match=r"^No jobs of read with letter_id=1 expected, 1 job enqueued"):
        refute_enqueued(app, read, letter_id=1)


def test_a_misspelt_argument_does_not_make_an_assertion_that_is_always_right(
    app: pgjobs.App, read: pgjobs.Task[..., Any]
) -> None:
    for task in (read, "read"):
        with pytest.raises(pgjobs.InvalidPayload, match="read has no argument 'leter_id'"):
            refute_enqueued(app, task, leter_id=1)


def test_a_job_that_ran_inline_was_enqueued(app: pgjobs.App, read: pgjobs.Task[..., Any]) -> None:
    with inline(app):
        read.enqueue(1)
        (job,) = assert_enqueued(app, read)
        assert job.status == "completed"


def test_an_open_transaction_is_looked_into_when_it_is_given(dsn: str) -> None:
    app = pgjobs.App(dsn)
    read = app.task(read_letter)
    with psycopg.connect(dsn) as tx:
        read.options(tx=tx).enqueue(1)
        assert_enqueued(app, read, tx=tx, letter_id=1)
        assert len(enqueued(app, read, tx=tx)) == 1
        refute_enqueued(app, read)
        with app.using(tx):
            assert_enqueued(app, read)
        tx.rollback()
        refute_enqueued(app, read, tx=tx)
    app.close()


def test_an_event_loops_transaction_is_looked_into_as_well(dsn: str) -> None:
    app = pgjobs.App(dsn)
    read = app.task(read_letter)

    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as tx:
            await read.options(tx=tx).aenqueue(1)
            (job,) = await aassert_enqueued(app, read, tx=tx, letter_id=1)
            assert await aenqueued(app, read, tx=tx) == [job]
            await arefute_enqueued(app, read, tx=tx, letter_id=2)
            await arefute_enqueued(app, read)
            await tx.rollback()
        await app.aclose()

    asyncio.run(main())


def read_letter(letter_id: int) -> None: ...
