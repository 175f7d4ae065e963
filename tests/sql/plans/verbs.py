"""A worker on one session, as the claimer would drive it, and every verb as one call that can be measured."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from pgjobs import calls
from pgjobs.calls import Call, Edit, Filter, JobFilter, Settlement, Step
from pgjobs.connections import PsycopgRunner, run
from pgjobs.job import Claimed, Lease, Progress
from pgjobs.worker.cursors import Cursors
from tests.conftest import Clock, Connection

T = TypeVar("T")
Measure = Callable[[Call[Any]], Any]

QUEUE = "measured"
HELD = "held"  # a task that is paused now and then
BATCH = 10  # jobs in every measured call
OVERLAP = timedelta(seconds=0.2)
SECOND = timedelta(seconds=1)


class Bench:
    """A worker, its queue and its cursors on one session, which it measures by."""

    def __init__(self, db: Connection, clock: Clock) -> None:
        self.db = db
        self.clock = clock
        self.cursors = Cursors([QUEUE])
        self.numbers = itertools.count()
        self.worker = self.register(timedelta(days=9))

    def each(self, measure: Callable[[Connection, Call[Any]], T]) -> dict[str, T]:
        """Measure every verb once, each on jobs of its own. Verbs leave no ready job behind that they made."""
        measured = {}
        for verb in VERBS:
            self.tidy()
            measured[verb.__name__] = verb(self, lambda call: measure(self.db, call))
        self.tidy()
        return measured

    def run(self, call: Call[T]) -> T:
        return run(PsycopgRunner(self.db), call)

    def register(self, lease: timedelta) -> int:
        return self.run(calls.register("bench", "here", 1, "0", [QUEUE], 10, lease))

    def enqueuing(self, count: int, task: str = "t") -> Call[list[int]]:
        """Jobs of another task than t are the first to be claimed, whatever lies around."""
        jobs = [
            {"task": task, "priority": 0 if task == "t" else -2, "queue": QUEUE, "payload": {"n": n}}
            for n in range(count)
        ]
        return Call(
            "select id from pgjobs.enqueue_many_v1(%s::jsonb, true)",
            (json.dumps(jobs),),
            lambda rows: [row[0] for row in rows],
        )

    def enqueue(self, count: int = BATCH) -> list[int]:
        """Enqueue jobs, and step past the moment for which the cursors look back."""
        ids = self.run(self.enqueuing(count))
        self.clock.advance(SECOND)
        return ids

    def claiming(self, limit: int = BATCH, idle: bool | None = None) -> Call[Step]:
        return calls.claim(self.worker, limit, self.cursors.scan(OVERLAP, idle))

    def claim(self, limit: int = BATCH, worker: int | None = None) -> list[Claimed]:
        scan = self.cursors.scan(OVERLAP, None)
        step = self.run(calls.claim(worker or self.worker, limit, scan))
        self.cursors.advance(scan, step)
        return step.claimed

    def enqueue_and_claim(self, count: int = BATCH, worker: int | None = None) -> list[Claimed]:
        self.enqueue(count)
        jobs = self.claim(count, worker)
        assert len(jobs) == count
        return jobs

    def settle(self, settlement: Settlement) -> None:
        step = self.run(calls.settle(self.worker, settlement))
        assert not step.fenced
        assert not step.locked

    def tidy(self) -> None:
        """Complete what the worker holds, and renew it, so that its next leases are looked for from now on."""
        held = self.run(calls.leases(self.worker, 100_000))
        self.settle(Settlement([lease.id for lease in held], [lease.run for lease in held]))
        (now,) = self.run(Call("select pgjobs.now()::text", (), lambda rows: rows[0]))
        self.run(calls.renew(self.worker, 0, now, False))


def completed(jobs: list[Claimed]) -> Settlement:
    return Settlement([job.id for job in jobs], [job.run for job in jobs], ['{"ok": true}'] * len(jobs))


def others(jobs: list[Claimed], outcome: str, **more: Any) -> Settlement:
    return Settlement(others=[{"id": job.id, "run": job.run, "outcome": outcome, **more} for job in jobs])


# The verbs. Each prepares its jobs, has the one call measured, and takes what became ready again out of the way.


def enqueue(bench: Bench, measure: Measure) -> Any:
    cost = measure(Call("select pgjobs.enqueue('t', '{\"n\": 1}', %s)", (QUEUE,), list))
    bench.clock.advance(SECOND)
    bench.claim()
    return cost


def enqueue_many(bench: Bench, measure: Measure) -> Any:
    cost = measure(bench.enqueuing(BATCH))
    bench.clock.advance(SECOND)
    bench.claim()
    return cost


def claim(bench: Bench, measure: Measure) -> Any:
    bench.enqueue()
    return measure(bench.claiming())


def claim_more_than_there_is(bench: Bench, measure: Measure) -> Any:
    bench.enqueue()
    return measure(bench.claiming(2 * BATCH))


def claim_nothing(bench: Bench, measure: Measure) -> Any:
    bench.enqueue_and_claim()
    bench.claim()
    bench.clock.advance(SECOND)
    return measure(bench.claiming())


def claim_nothing_idly(bench: Bench, measure: Measure) -> Any:
    """With the idle locks, and a look at when the next job falls due."""
    bench.enqueue_and_claim()
    bench.claim()
    bench.clock.advance(SECOND)
    cost = measure(bench.claiming(idle=True))
    bench.run(bench.claiming(0, idle=False))
    return cost


def complete(bench: Bench, measure: Measure) -> Any:
    return measure(calls.settle(bench.worker, completed(bench.enqueue_and_claim())))


def retry(bench: Bench, measure: Measure) -> Any:
    jobs = bench.enqueue_and_claim()
    outcomes = others(jobs, "retry", delay=9e6, error="E", message="m", max_attempts=9)
    cost = measure(calls.settle(bench.worker, outcomes))
    bench.run(calls.cancel([job.id for job in jobs], None))
    return cost


def fail(bench: Bench, measure: Measure) -> Any:
    outcomes = others(bench.enqueue_and_claim(), "fail", error="E", message="m")
    return measure(calls.settle(bench.worker, outcomes))


def snooze(bench: Bench, measure: Measure) -> Any:
    jobs = bench.enqueue_and_claim()
    cost = measure(calls.settle(bench.worker, others(jobs, "snooze", delay=9e6)))
    bench.run(calls.cancel([job.id for job in jobs], None))
    return cost


def release(bench: Bench, measure: Measure) -> Any:
    cost = measure(calls.settle(bench.worker, others(bench.enqueue_and_claim(), "release")))
    bench.clock.advance(SECOND)
    bench.claim()
    return cost


def settle_what_is_fenced(bench: Bench, measure: Measure) -> Any:
    jobs = bench.enqueue_and_claim()
    return measure(calls.settle(bench.worker, Settlement([job.id for job in jobs], [9] * BATCH)))


def settle_and_claim(bench: Bench, measure: Measure) -> Any:
    jobs = bench.enqueue_and_claim()
    bench.enqueue()
    scan = bench.cursors.scan(OVERLAP, None)
    return measure(calls.settle_and_claim(bench.worker, completed(jobs), BATCH, scan))


def leases(bench: Bench, measure: Measure) -> Any:
    bench.enqueue_and_claim()
    return measure(calls.leases(bench.worker, BATCH))


def renew(bench: Bench, measure: Measure) -> Any:
    return measure(calls.renew(bench.worker, 1, None, False))


def rescue(bench: Bench, measure: Measure) -> Any:
    silent = bench.register(timedelta(minutes=1))
    jobs = bench.enqueue_and_claim(worker=silent)
    bench.clock.advance(timedelta(minutes=1))
    cost = measure(calls.rescue(BATCH))
    assert bench.run(calls.job(jobs[0].id)).crashes == 1
    bench.clock.advance(SECOND)
    bench.claim()
    return cost


def rescue_nobody(bench: Bench, measure: Measure) -> Any:
    return measure(calls.rescue(BATCH))


def resign(bench: Bench, measure: Measure) -> Any:
    leaving = bench.register(timedelta(days=1))
    bench.enqueue_and_claim(worker=leaving)
    cost = measure(calls.resign(leaving))
    bench.clock.advance(SECOND)
    bench.claim()
    return cost


def retry_failed(bench: Bench, measure: Measure) -> Any:
    jobs = bench.enqueue_and_claim()
    bench.settle(others(jobs, "fail", error="E", message="m"))
    ids = [job.id for job in jobs]
    cost = measure(calls.retry_failed(Filter(ids=ids), BATCH))
    bench.run(calls.cancel(ids, None))
    return cost


def cancel(bench: Bench, measure: Measure) -> Any:
    ids = bench.run(bench.enqueuing(BATCH))
    return measure(calls.cancel(ids, "measured"))


def cancel_running(bench: Bench, measure: Measure) -> Any:
    return measure(calls.cancel([job.id for job in bench.enqueue_and_claim()], "measured"))


def cancel_asked(bench: Bench, measure: Measure) -> Any:
    bench.run(calls.cancel([job.id for job in bench.enqueue_and_claim()], None))
    return measure(calls.cancel_asked(bench.worker, BATCH))


def progress(bench: Bench, measure: Measure) -> Any:
    leases = [Lease(job.id, job.run, bench.worker) for job in bench.enqueue_and_claim()]
    # Fill the page they lie on: where there is room for their next versions they cost less, and that is chance.
    jobs = "insert into pgjobs.jobs (queue, task, wake) select 'another', 't', false from generate_series(1, 100)"
    bench.db.execute(jobs.encode())
    return measure(calls.progress(leases, [Progress(1, 2, "half")] * BATCH))


def clear_failed(bench: Bench, measure: Measure) -> Any:
    jobs = bench.enqueue_and_claim()
    bench.settle(others(jobs, "fail", error="E", message="m"))
    return measure(calls.clear_failed(Filter(ids=[job.id for job in jobs]), BATCH))


def cancel_where(bench: Bench, measure: Measure) -> Any:
    ids = bench.run(bench.enqueuing(BATCH))
    return measure(calls.cancel_where(JobFilter(queue=QUEUE), None, BATCH, ids[0] - 1))


def move(bench: Bench, measure: Measure) -> Any:
    ids = bench.run(bench.enqueuing(BATCH))
    cost = measure(calls.move("moved", JobFilter(queue=QUEUE), BATCH, ids[0] - 1))
    bench.run(calls.cancel(ids, None))
    return cost


def edit(bench: Bench, measure: Measure) -> Any:
    (id,) = bench.run(bench.enqueuing(1))
    cost = measure(calls.edit(id, Edit(priority=1)))
    bench.run(calls.cancel([id], None))
    return cost


def claim_and_park(bench: Bench, measure: Measure) -> Any:
    """Half of what it takes is of a paused task."""
    bench.run(calls.pause(task=HELD))
    held = bench.run(bench.enqueuing(BATCH // 2, HELD))
    bench.enqueue(BATCH // 2)
    cost = measure(bench.claiming())
    bench.run(calls.cancel(held, None))
    bench.run(calls.resume(task=HELD))
    bench.run(calls.resume_tasks(BATCH))
    return cost


def claim_where_jobs_are_parked(bench: Bench, measure: Measure) -> Any:
    bench.run(calls.pause(task=HELD))
    held = bench.run(bench.enqueuing(BATCH, HELD))
    bench.clock.advance(SECOND)
    assert bench.claim() == []
    bench.enqueue()
    cost = measure(bench.claiming())
    bench.run(calls.cancel(held, None))
    bench.run(calls.resume(task=HELD))
    bench.run(calls.resume_tasks(BATCH))
    return cost


def resume(bench: Bench, measure: Measure) -> Any:
    # A task of its own: a resume walks the dead entries of its line.
    task = f"{HELD} {next(bench.numbers)}"
    bench.run(calls.pause(task=task))
    bench.run(bench.enqueuing(BATCH, task))
    bench.clock.advance(SECOND)
    assert bench.claim() == []
    cost = measure(calls.resume(task=task))
    assert bench.run(calls.resume_tasks(BATCH)) == 0
    bench.clock.advance(SECOND)
    assert {job.task for job in bench.claim()} == {task}
    return cost


def resume_nothing(bench: Bench, measure: Measure) -> Any:
    return measure(calls.resume_tasks(BATCH))


def look_up(bench: Bench, measure: Measure) -> Any:
    jobs = bench.enqueue_and_claim()
    bench.settle(completed(jobs))
    return measure(calls.job(jobs[0].id))


def watch_what_lives(bench: Bench, measure: Measure) -> Any:
    return measure(calls.watch([job.id for job in bench.enqueue_and_claim()]))


def watch_what_is_over(bench: Bench, measure: Measure) -> Any:
    jobs = bench.enqueue_and_claim()
    bench.settle(completed(jobs))
    return measure(calls.watch([jobs[0].id]))


VERBS: list[Callable[[Bench, Measure], Any]] = [
    enqueue, enqueue_many, claim, claim_more_than_there_is, claim_nothing, claim_nothing_idly, complete, retry, fail,
    snooze, release, settle_what_is_fenced, settle_and_claim, leases, renew, rescue, rescue_nobody, resign,
    retry_failed, cancel, cancel_running, cancel_asked, progress, clear_failed, cancel_where, move, edit, claim_and_park,
    claim_where_jobs_are_parked, resume, resume_nothing, look_up, watch_what_lives, watch_what_is_over,
]  # fmt: skip
