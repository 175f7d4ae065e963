"""What a verb costs, in pages (I8): the same, whatever else lies around it, and under a snapshot that vacuum must respect.

Pages are the buffers that `explain (analyze, buffers)` counts for one call of one of our functions, nested statements
included. Each growth is made a hundred times as large as at first; every verb is measured before and after.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import psycopg
import pytest

from pgjobs import calls
from pgjobs.calls import Call, Filter, Settlement
from pgjobs.connections import PsycopgRunner, run
from pgjobs.job import Claimed
from pgjobs.worker.cursors import Cursors

Connection = psycopg.Connection[tuple[Any, ...]]
T = TypeVar("T")

QUEUE = "measured"
BATCH = 10  # jobs in every measured call
OVERLAP = timedelta(seconds=0.2)


class Clock(Protocol):
    def advance(self, by: timedelta) -> None: ...


def pages(db: Connection, call: Call[Any]) -> int:
    """Run a call; return how many pages it touched, in the statements inside functions as well."""
    (plan,) = db.execute("explain (analyze, buffers, format json) " + call.sql, call.params).fetchone()[0]
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


class Bench:
    """A worker on one session, as the claimer would drive it."""

    def __init__(self, db: Connection, clock: Clock) -> None:
        self.db = db
        self.clock = clock
        self.cursors = Cursors([QUEUE])
        self.worker = self.register(timedelta(days=9))

    def run(self, call: Call[T]) -> T:
        return run(PsycopgRunner(self.db), call)

    def pages(self, call: Call[Any]) -> int:
        return pages(self.db, call)

    def register(self, lease: timedelta) -> int:
        return self.run(calls.register("bench", "here", 1, "0", [QUEUE], 10, lease))

    def enqueue(self, count: int = BATCH) -> None:
        """Enqueue jobs in the measured queue, and step past the cursor's look back."""
        self.run(self.enqueueing(count))
        self.clock.advance(timedelta(seconds=1))

    def enqueueing(self, count: int) -> Call[Any]:
        jobs = json.dumps([{"task": "t", "queue": QUEUE, "payload": {"n": n}} for n in range(count)])
        return Call("select id from pgjobs.enqueue_many_v1(%s::jsonb, true)", (jobs,), list)

    def claiming(self, worker: int | None = None, limit: int = BATCH) -> Call[calls.Step]:
        return calls.claim(worker or self.worker, limit, self.cursors.scan(OVERLAP, None))

    def claim(self, worker: int | None = None, limit: int = BATCH) -> list[Claimed]:
        scan = self.cursors.scan(OVERLAP, None)
        step = self.run(calls.claim(worker or self.worker, limit, scan))
        self.cursors.advance(scan, step)
        return step.claimed

    def claimed(self, worker: int | None = None) -> list[Claimed]:
        """Enqueue and claim a batch."""
        self.enqueue()
        jobs = self.claim(worker)
        assert len(jobs) == BATCH
        return jobs

    def settle(self, settlement: Settlement) -> None:
        step = self.run(calls.settle(self.worker, settlement))
        assert not step.fenced
        assert not step.locked

    def tidy(self) -> None:
        """Settle what the worker holds, and renew it, so that its next leases are looked for from now on."""
        held = self.run(calls.leases(self.worker, 100_000))
        self.settle(Settlement([lease.id for lease in held], [lease.run for lease in held]))
        (now,) = self.run(Call("select pgjobs.now()::text", (), lambda rows: rows[0]))
        self.run(calls.renew(self.worker, 0, now, False))


def completed(jobs: list[Claimed]) -> Settlement:
    return Settlement([job.id for job in jobs], [job.run for job in jobs], ['{"ok": true}'] * len(jobs))


def others(jobs: list[Claimed], outcome: str, **more: Any) -> Settlement:
    return Settlement(others=[{"id": job.id, "run": job.run, "outcome": outcome, **more} for job in jobs])


# The verbs: each prepares, and returns what its one measured call touched.


def enqueue(bench: Bench) -> int:
    call: Call[Any] = Call("select pgjobs.enqueue('t', '{}', %s)", (QUEUE,), list)
    cost = bench.pages(call)
    bench.clock.advance(timedelta(seconds=1))
    bench.claim()
    return cost


def enqueue_many(bench: Bench) -> int:
    cost = bench.pages(bench.enqueueing(BATCH))
    bench.clock.advance(timedelta(seconds=1))
    bench.claim()
    return cost


def claim(bench: Bench) -> int:
    bench.enqueue()
    return bench.pages(bench.claiming())


def claim_more_than_there_is(bench: Bench) -> int:
    bench.enqueue(BATCH)
    return bench.pages(bench.claiming(limit=2 * BATCH))


def claim_again(bench: Bench) -> int:
    """With the cursors where a claim has just left them."""
    return bench.pages(bench.claiming())


def complete(bench: Bench) -> int:
    return bench.pages(calls.settle(bench.worker, completed(bench.claimed())))


def retry(bench: Bench) -> int:
    retried = others(bench.claimed(), "retry", delay=9e6, error="E", message="m", max_attempts=9)
    return bench.pages(calls.settle(bench.worker, retried))


def fail(bench: Bench) -> int:
    return bench.pages(calls.settle(bench.worker, others(bench.claimed(), "fail", error="E", message="m")))


def snooze(bench: Bench) -> int:
    return bench.pages(calls.settle(bench.worker, others(bench.claimed(), "snooze", delay=9e6)))


def release(bench: Bench) -> int:
    cost = bench.pages(calls.settle(bench.worker, others(bench.claimed(), "release")))
    bench.claim()
    return cost


def fenced(bench: Bench) -> int:
    jobs = bench.claimed()
    return bench.pages(calls.settle(bench.worker, Settlement([job.id for job in jobs], [9] * BATCH)))


def settle_and_claim(bench: Bench) -> int:
    settled = completed(bench.claimed())
    bench.enqueue()
    scan = bench.cursors.scan(OVERLAP, None)
    return bench.pages(calls.settle_and_claim(bench.worker, settled, BATCH, scan))


def leases(bench: Bench) -> int:
    bench.claimed()
    return bench.pages(calls.leases(bench.worker, BATCH))


def renew(bench: Bench) -> int:
    return bench.pages(calls.renew(bench.worker, 1, None, False))


def rescue(bench: Bench) -> int:
    silent = bench.register(timedelta(seconds=2))
    jobs = bench.claimed(silent)
    bench.clock.advance(timedelta(seconds=2))
    cost = bench.pages(calls.rescue(BATCH))
    assert bench.run(calls.job(jobs[0].id)).crashes == 1
    bench.claim()
    return cost


def rescue_nobody(bench: Bench) -> int:
    return bench.pages(calls.rescue(BATCH))


def resign(bench: Bench) -> int:
    leaving = bench.register(timedelta(days=1))
    bench.claimed(leaving)
    cost = bench.pages(calls.resign(leaving))
    bench.clock.advance(timedelta(seconds=1))
    bench.claim()
    return cost


def retry_failed(bench: Bench) -> int:
    jobs = bench.claimed()
    bench.settle(others(jobs, "fail", error="E", message="m"))
    cost = bench.pages(calls.retry_failed(Filter(ids=[job.id for job in jobs]), BATCH))
    bench.clock.advance(timedelta(seconds=1))
    bench.claim()
    return cost


def cancel(bench: Bench) -> int:
    ids = [row[0] for row in bench.run(bench.enqueueing(BATCH))]
    return bench.pages(calls.cancel(ids, "measured"))


def look_up(bench: Bench) -> int:
    jobs = bench.claimed()
    bench.settle(completed(jobs))
    return bench.pages(calls.job(jobs[0].id))


VERBS: list[Callable[[Bench], int]] = [
    enqueue, enqueue_many, claim, claim_more_than_there_is, claim_again, complete, retry, fail, snooze, release, fenced,
    settle_and_claim, leases, renew, rescue, rescue_nobody, resign, retry_failed, cancel, look_up,
]  # fmt: skip


def costs(bench: Bench) -> dict[str, int]:
    """What each verb costs now; the better of two rounds, the first of which also fills the session's caches."""
    rounds = []
    for _ in range(2):
        found = {}
        for verb in VERBS:
            bench.tidy()
            found[verb.__name__] = verb(bench)
        rounds.append(found)
    bench.tidy()
    return {name: min(found[name] for found in rounds) for name in rounds[0]}


# What may grow around the measured jobs: each adds so many more.


def completed_jobs(bench: Bench, count: int) -> None:
    """Jobs of the same queue, enqueued, claimed and completed: their row versions are dead and can not be removed."""
    for batch in batches(count):
        bench.enqueue(batch)
        jobs = bench.claim(limit=batch)
        assert len(jobs) == batch
        bench.settle(completed(jobs))


def jobs_that_failed_and_came_back(bench: Bench, count: int) -> None:
    """Jobs that leave dead rows among the attempts and the dead letters, too, and end in the history."""
    for batch in batches(count):
        bench.enqueue(batch)
        jobs = bench.claim(limit=batch)
        assert len(jobs) == batch
        bench.settle(others(jobs, "fail", error="E", message="m"))
        ids = [job.id for job in jobs]
        assert len(bench.run(calls.retry_failed(Filter(ids=ids), batch))) == batch
        assert len(bench.run(calls.cancel(ids, None))) == batch


def batches(count: int) -> Iterator[int]:
    for begin in range(0, count, 500):
        yield min(count - begin, 500)


def add_jobs(bench: Bench, count: int, queue: str, rank: int = 0, at: str = "pgjobs.now()") -> None:
    bench.db.execute(
        "insert into pgjobs.jobs (queue, task, payload, priority, rank, wake, available_at)"
        f" select {queue}, 't', '{{}}', %s, %s, false, {at} from generate_series(1, %s) n",
        (rank, rank, count),
    )


def jobs_for_later(bench: Bench, count: int) -> None:
    add_jobs(bench, count, f"'{QUEUE}'", at="pgjobs.now() + n * interval '1 minute' + interval '1 day'")


def jobs_of_other_queues(bench: Bench, count: int) -> None:
    add_jobs(bench, count, "case when n %% 2 = 0 then 'a' else 'z' end || n %% 100")


def jobs_that_are_due_later_in_the_line(bench: Bench, count: int) -> None:
    add_jobs(bench, count, f"'{QUEUE}'")


def jobs_of_lower_priority(bench: Bench, count: int) -> None:
    add_jobs(bench, count, f"'{QUEUE}'", rank=2)


def finished_jobs(bench: Bench, count: int) -> None:
    bench.db.execute(
        "insert into pgjobs.job_history (slot, id, enqueued_at, finished_at, run, attempts, crashes, priority, status,"
        " queue, task, payload) select n %% 16, nextval('pgjobs.jobs_id_seq'), pgjobs.now(), pgjobs.now(),"
        " 1, 0, 0, 0, 'completed', %s, 't', '{}' from generate_series(1, %s) n",
        (QUEUE, count),
    )


def dead_letters(bench: Bench, count: int) -> None:
    bench.db.execute(
        "with new as (insert into pgjobs.dead_letters (id, enqueued_at, failed_at, run, attempts, crashes, priority, queue,"
        " task, payload, reason, error) select nextval('pgjobs.jobs_id_seq'), pgjobs.now(), pgjobs.now(),"
        " 1, 1, 0, 0, %s, 't', '{}', 'failed', 'E: m' from generate_series(1, %s) n returning id)"
        " insert into pgjobs.attempts select id, 1, 1, 1, pgjobs.now(), pgjobs.now(), 'E', 'm', null from new",
        (QUEUE, count),
    )


def running_jobs_of_others(bench: Bench, count: int) -> None:
    others = [bench.register(timedelta(days=9))]
    bench.db.execute(
        "insert into pgjobs.jobs (queue, task, payload, wake, status, run, worker, claimed_at)"
        " select %s, 't', '{}', false, 'running', 1, %s, pgjobs.now() from generate_series(1, %s) n",
        (QUEUE, others[0], count),
    )


def renewals(bench: Bench, count: int) -> None:
    for _ in range(count):
        bench.run(calls.renew(bench.worker, 1, None, False))


def workers_that_came_and_went(bench: Bench, count: int) -> None:
    for _ in range(count // 10):
        worker = bench.register(timedelta(days=1))
        for _ in range(8):
            bench.run(calls.renew(worker, 1, None, False))
        bench.run(calls.resign(worker))


GROWTHS: list[Callable[[Bench, int], None]] = [
    completed_jobs, jobs_that_failed_and_came_back, jobs_for_later, jobs_of_other_queues, jobs_that_are_due_later_in_the_line, jobs_of_lower_priority,
    finished_jobs, dead_letters, running_jobs_of_others, renewals, workers_that_came_and_went,
]  # fmt: skip


@pytest.fixture
def bench(db: Connection, clock: Clock, connect: Callable[..., Connection]) -> Iterator[Bench]:
    """A worker and its queue under a snapshot that keeps all dead rows, in tables whose indexes have two levels."""
    holder = connect(autocommit=False)
    holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    holder.execute("select from pgjobs.jobs")
    bench = Bench(db, clock)
    add_jobs(bench, 600, "'background'")
    finished_jobs(bench, 9600)
    dead_letters(bench, 600)
    yield bench
    bench.tidy()


@pytest.mark.parametrize("grow", GROWTHS, ids=lambda grow: str(grow.__name__))
def test_what_a_verb_touches_does_not_depend_on(bench: Bench, grow: Callable[[Bench, int], None]) -> None:
    size = 20 if grow in (renewals, workers_that_came_and_went) else 200
    grow(bench, size)
    before = costs(bench)
    grow(bench, 99 * size)
    after = costs(bench)
    import pathlib
    with open("/tmp/plans15/matrix","a") as f:
        print(grow.__name__, json.dumps([before, after]), file=f)
