"""Slots by executor: what may be claimed, and what becomes of a job that does not fit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import pgjobs
from pgjobs import ConfigurationError, Status
from pgjobs.worker import WorkerOptions
from pgjobs.worker.slots import Slots
from tests.conftest import Connection
from tests.sql.by_hand import until

Drain = Callable[..., pgjobs.Worker]
QUEUES = ("mail", "ocr", "any")


@pytest.fixture
def mixed(app: pgjobs.App) -> pgjobs.App:
    """An app with a task for the loop on one queue and one for threads on another."""

    @app.task(queue="mail")
    async def send() -> None: ...

    @app.task(queue="ocr")
    def read() -> None: ...

    return app


def slots(app: pgjobs.App, concurrency: Any) -> Slots:
    return Slots(concurrency, QUEUES, app.tasks)


def test_with_one_number_all_executors_share_the_slots(mixed: pgjobs.App) -> None:
    shared = slots(mixed, 2)
    assert (shared.total, shared.room().limit) == (2, 2)
    assert shared.take("mail", "async")
    assert shared.room().limit == 1
    assert shared.take("ocr", "thread")
    assert shared.room().limit == 0
    assert not shared.take("mail", "async")
    assert shared.give_back("thread")
    assert shared.room().limit == 1


def test_no_more_is_claimed_than_surely_fits(mixed: pgjobs.App) -> None:
    each = slots(mixed, {"async": 10, "thread": 3})
    assert each.total == 13
    assert each.room().limit == 3  # they might all be for threads
    assert each.take("ocr", "thread")
    assert (each.room().limit, each.room().closed) == (2, frozenset())


def test_a_queue_whose_executor_is_full_is_closed_and_the_others_are_open(mixed: pgjobs.App) -> None:
    each = slots(mixed, {"async": 10, "thread": 1})
    assert each.take("ocr", "thread")
    # Of `any` nothing is known: it may bring jobs for both.
    assert (each.room().limit, each.room().closed) == (10, frozenset({"ocr", "any"}))
    assert each.give_back("thread")
    assert (each.room().limit, each.room().closed) == (1, frozenset())


def test_what_a_queue_brings_is_learned(mixed: pgjobs.App) -> None:
    each = slots(mixed, {"async": 10, "thread": 1})
    assert each.take("mail", "thread")
    assert not each.take("mail", "thread")
    assert "mail" in each.room().closed


def test_an_executor_that_is_not_named_has_one_slot(mixed: pgjobs.App) -> None:
    each = slots(mixed, {"async": 10})
    assert each.take("ocr", "thread")
    assert not each.take("ocr", "thread")


@pytest.mark.parametrize(
    ("concurrency", "why"),
    [
        (0, "concurrency must be from 1 to 10000, not 0"),
        ({}, "concurrency must be from 1 to 10000"),
        ({"async": 0}, "concurrency must be from 1 to 10000"),
        ({"fibre": 5}, "concurrency is for async, thread and process, not for 'fibre'"),
    ],
)
def test_a_concurrency_that_makes_no_sense_is_refused(mixed: pgjobs.App, concurrency: Any, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        WorkerOptions.make(mixed.tasks, concurrency=concurrency)


def test_by_default_each_executor_of_the_tasks_has_its_slots(mixed: pgjobs.App) -> None:
    assert WorkerOptions.make(mixed.tasks).concurrency == {"async": 100, "thread": 10}
    assert WorkerOptions.make(mixed.tasks, ["mail"]).concurrency == 100
    assert WorkerOptions.make(mixed.tasks, ["elsewhere"]).concurrency == 10


def test_a_full_executor_does_not_keep_the_jobs_of_others_waiting(app: pgjobs.App, db: Connection) -> None:
    go_on, sent = threading.Event(), asyncio.Event()
    reading = threading.Semaphore(0)

    @app.task(queue="ocr")
    def read() -> None:
        reading.release()
        go_on.wait()

    @app.task(queue="mail")
    async def send(last: bool = False) -> None:
        if last:
            sent.set()

    reads = app.enqueue_many([read.spec() for _ in range(5)])

    async def main() -> None:
        async with app.worker(concurrency={"async": 20, "thread": 2}):
            for _ in range(2):
                await asyncio.to_thread(reading.acquire)
            await app.aenqueue_many([send.spec(last=number == 49) for number in range(50)])
            await asyncio.wait_for(sent.wait(), 30)
            # Nothing was claimed that would only wait here: another worker may have it.
            assert [(await app.ajob(id)).status for id in reads].count(Status.RUNNING) == 2
            assert {(await app.ajob(id)).run for id in reads} == {0, 1}
            go_on.set()
        await app.aclose()

    asyncio.run(main())


def test_when_a_slot_is_free_again_its_queue_is_looked_at_at_once(app: pgjobs.App, drain: Drain) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    @app.task(queue="ocr")
    def read() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        with lock:
            running -= 1

    @app.task(queue="mail")
    async def send() -> None: ...

    ids = app.enqueue_many([task.spec() for task in (read, send) for _ in range(100)])
    drain(concurrency={"async": 20, "thread": 2}, poll=3600)
    assert {app.job(id).status for id in ids} == {Status.COMPLETED}
    assert {app.job(id).run for id in ids} == {1}
    assert most <= 2


def test_a_job_that_does_not_fit_waits_a_moment_for_a_slot_and_is_then_given_back_uncounted(
    app: pgjobs.App, db: Connection
) -> None:
    """A task may be enqueued into a queue where nobody expects it, by options(queue=) or by SQL."""
    go_on = threading.Event()

    @app.task(queue="ocr")
    def read() -> None:
        go_on.wait()

    @app.task(queue="mail")
    async def send() -> None: ...

    ids = app.enqueue_many([read.options(queue="mail").spec() for _ in range(3)])
    first_again = (
        "(select count(*) from pgjobs.jobs where status = 'ready' and run = 1 and rank = -3 and attempts = 0) = 2"
    )

    async def main() -> None:
        async with app.worker(["mail"], concurrency={"async": 20, "thread": 1}):
            try:
                await asyncio.to_thread(until, db, "(select count(*) from pgjobs.jobs where status = 'running') = 3")
                await asyncio.to_thread(until, db, first_again)
            finally:
                go_on.set()
            await asyncio.to_thread(until, db, "not exists (select from pgjobs.jobs)")

    asyncio.run(main())
    assert [app.job(id).status for id in ids] == [Status.COMPLETED] * 3
