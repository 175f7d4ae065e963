"""Jobs claimed ahead: they keep the slots of short jobs busy, and are nobody's loss when jobs take long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

import pgjobs
from pgjobs.async_client import AsyncClient
from pgjobs.calls import Scan, Settlement, Step
from pgjobs.job import Claimed, Lease
from pgjobs.worker import ahead
from pgjobs.worker.ahead import Ahead
from tests.conftest import Connection
from tests.sql.by_hand import until
from tests.worker.conftest import run

Drain = Callable[..., pgjobs.Worker]
JOBS = [
    (Lease(id, 1, 1), Claimed("claimed", id, 1, "q", 0, None, "t", "{}", 0, 0, 0, None, None, "", None))
    for id in range(9)
]


def full_claims(ahead: Ahead, jobs: int, took: float, count: int = 30) -> None:
    """So many claims, one after the other, each full and with so many outcomes."""
    for number in range(count):
        ahead.claimed(jobs, number * took, (number + 1) * took, True)


def test_as_many_are_held_as_the_slots_get_through_in_three_round_trips() -> None:
    ahead = Ahead()
    full_claims(ahead, 20, took=0.01)
    assert ahead.most == pytest.approx(3 * 20, abs=1)


def test_or_what_is_some_milliseconds_of_work_where_round_trips_are_short() -> None:
    held = Ahead()
    full_claims(held, 20, took=0.001)
    assert held.most == pytest.approx(20 / 0.001 * ahead.AT_LEAST, abs=1)


def test_long_jobs_are_not_held() -> None:
    ahead = Ahead()
    for number in range(30):  # one slot, a job of ten seconds, claims of 4 ms
        ahead.claimed(1, number * 10, number * 10 + 0.004, True)
    assert ahead.most == 0


def test_a_few_short_jobs_show_nothing() -> None:
    held = Ahead()
    for number in range(3 * ahead.ROW):  # most claims find no outcome yet
        held.claimed(number % 4 == 3, number * 0.001, (number + 1) * 0.001, True)
        assert held.most == 0
    full_claims(held, 20, took=0.004)
    assert held.most > 0


def test_there_is_a_most() -> None:
    held = Ahead()
    full_claims(held, 100_000, took=1)
    assert held.most == ahead.MOST


def test_nothing_is_held_from_the_moment_that_not_all_slots_can_be_filled() -> None:
    ahead = Ahead()
    full_claims(ahead, 20, took=0.004)
    ahead.claimed(20, 1, 1.004, False)
    assert ahead.most == 0
    # What lies between the two is no measure of what the slots get through.
    before = ahead._rate
    ahead.claimed(20, 500, 500.004, True)
    assert ahead._rate == before


def test_they_are_taken_in_the_order_they_came() -> None:
    ahead = Ahead()
    ahead.hold(JOBS[:2], 1.0)
    ahead.hold(JOBS[2:], 2.0)
    assert ahead.late_at() == 1.0 + 0.25
    assert [ahead.take() for _ in range(2)] == JOBS[:2]
    assert ahead.late_at() == 2.0 + 0.25
    assert ahead.give_up() == JOBS[2:]
    assert not ahead
    assert ahead.take() is None


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many jobs each claim that also settles asks for."""
    asked: list[int] = []
    real = AsyncClient.settle_and_claim

    async def noted(self: AsyncClient, worker: int, settlement: Settlement, limit: int, scan: Scan) -> Step:
        asked.append(limit)
        return await real(self, worker, settlement, limit, scan)

    monkeypatch.setattr(AsyncClient, "settle_and_claim", noted)
    return asked


def test_a_worker_of_few_slots_claims_a_backlog_of_short_jobs_by_the_hundred(
    app: pgjobs.App, drain: Drain, claims: list[int]
) -> None:
    ran = []

    @app.task
    async def nothing(n: int) -> None:
        ran.append(n)

    app.enqueue_many(nothing.spec(n=n) for n in range(5_000))
    drain(concurrency=4)
    assert ran == list(range(5_000))
    assert len(claims) < 1_000  # by its slots alone, two at a time, it would be 2,500
    assert max(claims) > 100


def test_what_is_held_when_jobs_become_long_goes_back_uncounted_for_others_to_do(
    app: pgjobs.App, db: Connection
) -> None:
    async def main() -> None:
        long, release = asyncio.Event(), asyncio.Event()

        @app.task(queue="q")
        async def job(n: int) -> None:
            if n >= 2_000 and worker._intake.waiting:  # from here on they are long
                long.set()
            if long.is_set():
                await release.wait()

        app.enqueue_many(job.spec(n=n) for n in range(5_000))
        async with app.worker(["q"], concurrency=2) as worker:
            await long.wait()
            # All but those that run come back to their queue by themselves: nothing is held for slots that are not free.
            await asyncio.to_thread(until, db, "count(*) = 2 from pgjobs.jobs where status = 'running'")
            assert len(worker._runs) == 2
            assert db.execute("select count(*) from pgjobs.jobs where attempts > 0 or crashes > 0").fetchone() == (0,)
            release.set()
            await asyncio.to_thread(until, db, "count(*) = 0 from pgjobs.jobs")
            assert worker.stats["release"] > 0
        assert worker.stats["done"] == 5_000

    run(main)


def test_a_stop_gives_back_what_was_claimed_ahead(app: pgjobs.App, db: Connection) -> None:
    async def main() -> None:
        begun: list[int] = []
        stopped_at: list[int] = []

        @app.task(queue="q")
        async def stop(n: int) -> None:
            begun.append(n)
            if n >= 2_000 and worker._intake.waiting and not stopped_at:
                stopped_at.append(len(begun))
                worker.stop()

        app.enqueue_many(stop.spec(n=n) for n in range(5_000))
        async with app.worker(["q"], concurrency=2) as worker:
            await asyncio.to_thread(until, db, "count(*) = 0 from pgjobs.workers")
        # None has begun after the stop but those that had their slots when it came.
        assert len(begun) <= stopped_at[0] + 2
        assert worker.stats["done"] == len(begun)
        assert worker.stats["release"] > 0
        rows = db.execute("select status, sum(attempts), sum(crashes), count(*) from pgjobs.jobs group by 1").fetchall()
        assert rows == [("ready", 0, 0, 5_000 - len(begun))]

    run(main)


def test_patience_is_a_moment() -> None:
    assert timedelta(seconds=ahead.PATIENCE) <= timedelta(seconds=0.5)


def test_behind_a_backlog_the_next_request_is_sent_before_what_has_arrived_is_begun(
    app: pgjobs.App, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = AsyncClient.settle_and_claim
    workers: list[pgjobs.Worker] = []
    arrived: list[int] = []

    @app.task
    async def nothing() -> None:
        pass

    async def noted(self: AsyncClient, worker: int, settlement: Settlement, limit: int, scan: Scan) -> Step:
        arrived.append(workers[0]._claimer.arrived)
        return await real(self, worker, settlement, limit, scan)

    app.enqueue_many([nothing.spec()] * 5_000)
    monkeypatch.setattr(AsyncClient, "settle_and_claim", noted)
    workers.append(app.make_worker(drain=True, concurrency=200))
    run(workers[0].run)
    assert workers[0].stats["done"] == 5_000
    assert max(arrived) >= 100
