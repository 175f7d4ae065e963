"""A model of the whole state machine, and a Hypothesis machine that drives the real SQL beside it.

The model says after every step what must be in the tables, to the last column that matters, and what each call must
return. Time stands still but for the steps that move it, so it says that exactly, ties and limits included.

What it holds the SQL to:
  I1  every committed job is in exactly one place, with the status expected;
  I2  it is running if and only if the model knows its lease;
  I3  an outcome under a lease that is over (any earlier run, any worker) changes nothing and comes back as fenced;
  I4  no run ever falls;
  liveness: a claim with cursors finds all that a look from the head would find, provided that what was announced was
  heard; and at the end all that is due can be drained.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pgjobs.calls import Cancellation, Edit, Filter, JobFilter, Scan, Settlement, Step
from pgjobs.client import Client
from pgjobs.errors import JobNotFound, JobNotWaiting, LeaseLost, PgjobsError
from pgjobs.job import Claimed, Lease, Priority, Progress, Spec
from pgjobs.worker.cursors import Cursors
from tests.conftest import Connection
from tests.sql.by_hand import LEASE, OVERLAP, Connect, Ear, StoppedClock, client, empty

START = datetime(2030, 1, 1, 6, tzinfo=UTC)
LATE = timedelta(seconds=0.15)
PERIOD = timedelta(hours=12)
FINISHED = ("completed", "cancelled")
WAIT = ("ready", "waiting")
SLOTS: Sequence[tuple[str, ...]] = (("a", "b"), ("a",), ("b", "a"))  # the queues of each worker
NEXT = ("tell", "b", -1)  # task, queue and priority of what is enqueued when a job dies, of all workers but one
DEAF = 1  # that one

# What must have happened at least once in a run of the machine that is worth its time.
WORTH = frozenset({
    "claimed", "claim was full", "claim left out a paused queue", "claim was refused", "completed", "completed unkept",
    "retried", "exhausted", "gave up", "told of a death",
    "told of no death of what tells", "failed", "snoozed", "released", "cancelled by the handler", "cancelled while waiting",
    "asked to cancel", "completed though asked to cancel", "cancelled as asked", "cancelled as asked after a failure",
    "cancelled by a rescue",
    "fenced after a rescue", "fenced by a wrong worker", "fenced by a wrong run", "rescued", "rescued in part",
    "died of crashes", "renewed", "renewal was refused", "retried a dead letter", "retried nothing for a missing id",
    "committed late, announced", "committed late, not announced", "rolled back", "pruned", "resigned holding jobs",
    "finished with errors from before a retry", "parked", "taken out of line", "edited", "edited in line", "edit was refused",
    "moved", "cancelled by conditions",
})  # fmt: skip

delays = st.sampled_from([None, None, None, -5.0, 0.1, 1.0, 30.0, 4000.0])
specs = st.builds(
    lambda task, queue, priority, delay, most: Spec(
        task, queue=queue, priority=priority, max_attempts=most,
        delay=None if delay is None else timedelta(seconds=delay),
    ),
    st.sampled_from(["work", "work", "rare"]), st.sampled_from(["a", "b"]), st.sampled_from(Priority), delays,
    st.sampled_from([None, None, 1, 2]),
)  # fmt: skip
edits = st.builds(
    Edit,
    priority=st.sampled_from([None, None, -1, 2]), queue=st.sampled_from([None, None, "a", "b"]),
    delay=st.sampled_from([None, None, timedelta(0), timedelta(seconds=1), timedelta(seconds=-5)]),
    max_attempts=st.sampled_from([None, 3]),
)  # fmt: skip
live = st.sampled_from([None, None, "ready", "scheduled", "waiting"])
outcomes = st.sampled_from(
    ["complete", "unkept", "retry", "retry", "retry", "fail", "fail", "snooze", "release", "cancel"]
)
soon = st.sampled_from([0.0, 0.0, 0.0, 0.05, 1.0, 100.0])
limits = st.integers(1, 7)
a_while = st.sampled_from([0.001, 0.05, 0.1, 0.15, 0.16, 0.2, 0.25, 1.0, 3.0, 30.0, 59.0, 60.0, 61.0, 4000.0])

Draw = Callable[..., Any]

# Each step, and how often among those that are possible it is to be taken. One rule draws among them, rather than one
# rule for each: Hypothesis would leave out a random half of the rules in every example, and with a few examples most
# of what takes three steps together would never be seen.
STEPS = {
    "settle": 16, "claim": 10, "enqueue_many": 4, "settle_and_claim": 4, "retry_failed": 4, "replay": 4, "enqueue": 2,
    "overtake": 3, "enqueue_in_open_transaction": 3, "commit": 3, "roll_back": 2, "time_passes": 4, "days_pass": 2, "die": 3, "rescue": 2,
    "renew": 2, "list_leases": 1, "resign": 3, "release": 2, "cancel": 2, "say_progress": 1, "cancel_and_settle": 3,
    "pause": 1, "resume": 2, "prune": 1,
    "pause_task": 1, "resume_task": 3, "edit": 2, "edit_in_line": 4, "move": 2, "cancel_where": 1,
}  # fmt: skip
# What upsets the rest; some examples go without some of it.
UPSETS = (
    "roll_back", "release", "resign", "days_pass", "die", "cancel", "cancel_and_settle", "pause", "pause_task", "cancel_where",
)  # fmt: skip


@dataclass
class Modelled:
    """A job as the tables must show it."""

    id: int
    queue: str
    priority: int
    max_attempts: int | None
    available_at: datetime | None
    rank: int | None
    status: str = "ready"
    run: int = 0
    attempts: int = 0
    crashes: int = 0
    worker: int | None = None
    claimed_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str | None = None
    errors: list[int] = field(default_factory=list)  # the runs that failed
    asked: str | None = None  # why its run is to be cancelled
    progress: int | None = None  # what its run said last
    failing_since: datetime | None = None
    task: str = "work"
    line: str | None = None

    @property
    def row(self) -> tuple[Any, ...]:
        """What TABLES shows of it."""
        return (
            self.id, self.status, self.queue, self.priority, self.rank, self.available_at, self.run, self.attempts,
            self.crashes, self.worker, self.claimed_at, self.finished_at, self.line or self.reason, self.errors,
            self.asked, self.progress,
        )  # fmt: skip

    def ready(self, at: datetime, rank: int) -> None:
        """Make it wait."""
        self.status, self.available_at, self.rank, self.worker, self.claimed_at = "ready", at, rank, None, None
        self.asked = self.progress = self.line = None

    def end(self, status: str, at: datetime, reason: str | None = None) -> None:
        """Make it finished or dead."""
        self.status, self.finished_at, self.reason, self.available_at, self.rank = status, at, reason, None, None
        self.asked = self.line = None


# All jobs; all workers, with negative ids; and, which must not be, violations.
TABLES = b"""
select j.id, j.status, j.queue, j.priority, j.rank, j.available_at, j.run, j.attempts, j.crashes, j.worker, j.claimed_at,
       null::timestamptz, j.line,
       coalesce((select array_agg(a.run order by a.run) from pgjobs.attempts a where a.job_id = j.id), '{}'),
       j.cancel_reason, (j.progress ->> 'done')::integer
from pgjobs.jobs j
union all
select d.id, 'dead', d.queue, d.priority, null, null, d.run, d.attempts, d.crashes, d.worker, d.claimed_at,
       d.failed_at, d.reason,
       coalesce((select array_agg(a.run order by a.run) from pgjobs.attempts a where a.job_id = d.id), '{}'),
       null, (d.progress ->> 'done')::integer
from pgjobs.dead_letters d
union all
select h.id, h.status, h.queue, h.priority, null, null, h.run, h.attempts, h.crashes, h.worker, h.claimed_at,
       h.finished_at, h.reason,
       coalesce((select array_agg((e ->> 'run')::integer) from jsonb_array_elements(h.errors) e), '{}'),
       null, (h.progress ->> 'done')::integer
from pgjobs.job_history h
union all
select -w.id, case when w.lost then 'lost' else 'worker' end, null, null, null, w.lapses_at, null, null, null, null, null, null, null,
       null, null, null
from pgjobs.workers w
union all
select 0, v.invariant || ': job ' || v.job || ' ' || v.breach, null, null, null, null, null, null, null, null, null, null,
       null, null, null, null
from pgjobs.violations v
order by 1
"""


@dataclass
class ModelledWorker:
    """A worker as its row must show it, and what it keeps in its own memory."""

    id: int
    slot: int
    lapses_at: datetime
    cursors: Cursors
    lost: bool = False

    @property
    def row(self) -> tuple[Any, ...]:
        """What TABLES shows of it."""
        return (-self.id, "lost" if self.lost else "worker", None, None, None, self.lapses_at, *[None] * 10)


class Machine(RuleBasedStateMachine):
    """Drives the SQL and the model side by side. Subclasses have the connections."""

    db: ClassVar[Connection]
    tx: ClassVar[Connection]  # a transaction that stays open over several steps
    ear: ClassVar[Ear]
    clock: ClassVar[StoppedClock]
    happened: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.client: Client = client(self.db)
        self.now = START
        self.jobs: dict[int, Modelled] = {}  # until pruned
        self.workers: dict[int, ModelledWorker] = {}  # that have a row
        self.paused: set[str] = set()
        self.paused_tasks: set[str] = set()
        self.ids: list[int] = []  # of all jobs that ever were committed
        self.leases: list[Lease] = []  # all that were ever given
        self.tells: set[int] = set()  # workers that know what to enqueue for a death
        self.died: list[Modelled] = []  # with the last call
        self.rescued: set[tuple[int, int]] = set()
        self.runs: dict[int, int] = {}
        self.pending: list[Modelled] = []  # enqueued in the open transaction
        self.flags: dict[str, datetime] = {}  # per queue, the earliest key it has flagged
        self.flagged: list[tuple[str, datetime]] = []
        self._reset()
        self.slots = [self._register(slot) for slot in range(len(SLOTS))]
        self.left_out: set[str] = set()

    @initialize(left_out=st.one_of(st.just(set()), st.sets(st.sampled_from(UPSETS))))
    def leave_out(self, left_out: set[str]) -> None:
        self.left_out = left_out

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        possible = [name for name, weight in STEPS.items() if self._is_possible(name) for _ in range(weight)]
        name = data.draw(st.sampled_from(possible), label="step")
        getattr(self, name)(data.draw)

    def _is_possible(self, step: str) -> bool:
        match step:
            case "commit" | "roll_back":
                possible = bool(self.pending)
            case "settle" | "say_progress" | "cancel_and_settle":
                possible = bool(self._holders())
            case "replay" | "release":
                possible = bool(self.leases)
            case "cancel":
                possible = bool(self.ids)
            case "days_pass":
                possible = any(job.status in FINISHED for job in self.jobs.values())
            case "retry_failed":
                possible = any(job.status == "dead" for job in self.jobs.values())
            case "resume":
                possible = bool(self.paused)
            case "resume_task":
                possible = bool(self.paused_tasks)
            case "edit_in_line":
                possible = any(job.line for job in self.jobs.values())
            case "edit":
                possible = bool(self.ids)
            case _:
                possible = True
        return possible and step not in self.left_out

    def _reset(self) -> None:
        self.tx.rollback()
        empty(self.db)
        self.clock.stop(self.now)
        self.ear.heard()

    # Enqueue

    def enqueue(self, draw: Draw) -> None:
        spec: Spec = draw(specs)
        id = self.client.enqueue(spec)
        self._committed([self._job(id, spec)])

    def enqueue_many(self, draw: Draw) -> None:
        many: list[Spec] = draw(st.lists(specs, min_size=1, max_size=6))
        ids = self.client.enqueue_many(many)
        assert ids == sorted(ids)
        self._committed([self._job(id, spec) for id, spec in zip(ids, many, strict=True)])

    def enqueue_in_open_transaction(self, draw: Draw) -> None:
        """It is committed, or not, in a later step, when its keys may have grown old."""
        self._enqueue_in_open_transaction(draw(st.lists(specs, min_size=1, max_size=3)), draw(st.booleans()))

    def _enqueue_in_open_transaction(self, many: list[Spec], at_once: bool) -> None:
        verbs = client(self.tx)
        ids = verbs.enqueue_many(many) if at_once else [verbs.enqueue(spec) for spec in many]
        jobs = [self._job(id, spec) for id, spec in zip(ids, many, strict=True)]
        self.pending += jobs
        in_order = sorted(jobs, key=lambda job: (job.available_at, job.id)) if at_once else jobs
        for job in in_order:
            assert job.available_at is not None
            if job.queue not in self.flags or job.available_at < self.flags[job.queue]:
                self.flags[job.queue] = job.available_at
                self.flagged.append((job.queue, job.available_at))

    def commit(self, draw: Draw) -> None:
        self._pass(timedelta(seconds=draw(st.sampled_from([0.0, 0.05, 0.15, 0.151, 0.2, 0.5]))))
        self._commit()

    def _commit(self) -> None:
        self.tx.commit()
        self._committed(self.pending)
        late = sorted({(queue, at) for queue, at in self.flagged if at < self.now - LATE})
        said = [(message["queue"], message["since"]) for message in self.ear.heard()]
        assert sorted(said) == late
        for queue, since in said:
            for worker in self.slots:
                if queue in SLOTS[worker.slot]:
                    worker.cursors.back_to(queue, since)
        self._saw("committed late, announced", bool(late))
        self._saw("committed late, not announced", any(self.now - LATE <= at < self.now for _, at in self.flagged))
        self._transaction_over()

    def overtake(self, draw: Draw) -> None:
        """Others enqueue and a worker claims past the key of an open transaction; then that commits."""
        spec, worker = draw(specs), self._draw_worker(draw)
        before, after = (timedelta(seconds=draw(st.sampled_from([0.01, 0.05, 0.1, 0.0]))) for _ in range(2))
        self._enqueue_in_open_transaction([spec], at_once=False)
        self._pass(before)
        self._committed([self._job(id, spec) for id in self.client.enqueue_many([spec] * 2)])
        self._claim(worker, draw(limits))
        self._pass(after)
        self._commit()
        self._claim(self.slots[worker.slot], 100)

    def roll_back(self, draw: Draw) -> None:
        self.tx.rollback()
        self._saw("rolled back")
        self._transaction_over()

    def _transaction_over(self) -> None:
        self.pending, self.flags, self.flagged = [], {}, []

    def _job(self, id: int, spec: Spec) -> Modelled:
        at = max(self.now, self.now + (spec.delay or timedelta(0)))
        return Modelled(
            int(id), spec.queue, int(spec.priority), spec.max_attempts, at, int(spec.priority), task=spec.task
        )

    def _committed(self, jobs: list[Modelled]) -> None:
        for job in jobs:
            assert job.id not in self.ids
            self.ids.append(job.id)
            self.jobs[job.id] = job

    # Claim and settle

    def claim(self, draw: Draw) -> None:
        head = draw(st.sampled_from([False, False, True]), label="from the head")
        self._claim(self._draw_worker(draw), draw(limits), head)

    def _claim(self, worker: ModelledWorker, limit: int, head: bool = False) -> None:
        self._pass(timedelta(microseconds=1))
        scan = worker.cursors.scan(OVERLAP, None, head)
        if self._may_claim(worker):
            self._claimed(worker, scan, limit, self.client.claim(worker.id, limit, scan))
        else:
            with refused(LeaseLost):
                self.client.claim(worker.id, limit, scan)
            self._saw("claim was refused")
            self._register_anew(worker)

    def settle_and_claim(self, draw: Draw) -> None:
        worker, limit = self._draw_worker(draw), draw(limits)
        self._pass(timedelta(microseconds=1))
        scan = worker.cursors.scan(OVERLAP, None)
        settlement, expected = self._settlement(draw, self._some_leases(draw, self._held_by(worker.id), at_least=0))
        if self._may_claim(worker):
            step = self.client.settle_and_claim(worker.id, settlement, limit, scan)
            self._settled(worker.id, expected, step)
            self._claimed(worker, scan, limit, step)
        else:
            with refused(LeaseLost):
                self.client.settle_and_claim(worker.id, settlement, limit, scan)
            self._saw("claim was refused")

    def settle(self, draw: Draw) -> None:
        """Outcomes of what a worker holds, whether its own lease has lapsed or not, and perhaps one that is stale."""
        worker = draw(st.sampled_from(self._holders()))
        chosen = self._some_leases(draw, self._held_by(worker), at_least=1)
        if draw(st.booleans()):
            stale = draw(st.sampled_from(self.leases))
            if stale.id not in {lease.id for lease in chosen}:
                chosen.append(stale)
        settlement, expected = self._settlement(draw, chosen)
        self._settled(worker, expected, self.client.settle(worker, settlement))

    def replay(self, draw: Draw) -> None:
        """Outcomes under leases of any earlier time, perhaps by the wrong worker or with a run that never was."""
        held = [lease for lease in self.leases[-30:] if lease in self._held_by(lease.worker)]
        if held and draw(st.booleans(), label="under another run of what is held"):
            chosen, run = self._some_leases(draw, held, at_least=1), draw(st.sampled_from([-1, 1]))
        else:
            chosen, run = self._some_leases(draw, self.leases, at_least=1), 0
        worker = draw(st.sampled_from([lease.worker for lease in chosen] + [w.id for w in self.slots]))
        settlement, expected = self._settlement(draw, [lease._replace(run=lease.run + run) for lease in chosen])
        self._settled(worker, expected, self.client.settle(worker, settlement))

    def release(self, draw: Draw) -> None:
        chosen = self._some_leases(draw, self.leases[-8:], at_least=1)
        leases = [lease._replace(worker=chosen[0].worker) for lease in chosen]
        step = self.client.release(leases)
        self._settled(leases[0].worker, [(lease, {"outcome": "release"}) for lease in leases], step)

    def _may_claim(self, worker: ModelledWorker) -> bool:
        return worker.id in self.workers and not worker.lost and worker.lapses_at > self.now

    def _claimed(self, worker: ModelledWorker, scan: Scan, limit: int, step: Step) -> None:
        """What came back must be what a look from the head would have found, wherever the cursors were."""
        expected: list[Modelled] = []
        for queue, rank in zip(scan.queues, scan.ranks, strict=True):
            expected += sorted(
                (
                    job
                    for job in self.jobs.values()
                    if job.status == "ready"
                    and (job.queue, job.rank) == (queue, rank)
                    and queue not in self.paused
                    and job.available_at is not None
                    and job.available_at <= self.now
                ),
                key=lambda job: (job.available_at, job.id),
            )
        picked = expected[:limit]
        for job in picked:
            if job.task in self.paused_tasks:
                job.status, job.line = "waiting", f"task/{job.task}"
                self._saw("parked")
        expected = [
            job for job in picked if job.status == "ready"
        ]  # rank by rank, queue by queue, as they were looked for
        assert step.claimed == [
            Claimed(
                "claimed", job.id, job.run + 1, job.queue, job.rank or 0, None, job.task,
                "{}" if job.task != "tell" else claimed.payload, job.priority,
                job.attempts, job.crashes, job.max_attempts, None, claimed.enqueued_at,
                None if job.task != "tell" else claimed.metadata,
            )
            for job, claimed in zip(expected, step.claimed, strict=False)
        ]  # fmt: skip
        assert len(step.claimed) == len(expected)
        assert set(step.paused) == self.paused & set(scan.queues)
        assert (step.cursor is not None) == (len(picked) == limit)
        worker.cursors.advance(scan, step)
        for job in expected:
            job.status, job.worker, job.claimed_at = "running", worker.id, self.now
            job.run += 1
            self.leases.append(Lease(job.id, job.run, worker.id))
        self._saw("claimed", bool(expected))
        self._saw("claim was full", len(picked) == limit)
        self._saw("claim left out a paused queue", bool(step.paused))

    def _holders(self) -> list[int]:
        return sorted({job.worker for job in self.jobs.values() if job.worker and job.status == "running"})

    def _held_by(self, worker: int) -> list[Lease]:
        return [Lease(job.id, job.run, worker) for job in self._running(worker)]

    def _running(self, worker: int) -> list[Modelled]:
        return [job for job in self.jobs.values() if job.status == "running" and job.worker == worker]

    def _some_leases(self, draw: Draw, leases: list[Lease], at_least: int) -> list[Lease]:
        if not leases:
            return []
        # Of a job only one run, for a batch names no job twice.
        some: list[Lease] = draw(
            st.lists(st.sampled_from(leases), min_size=at_least, max_size=4, unique_by=lambda lease: lease.id)
        )
        return some

    def _settlement(self, draw: Draw, leases: list[Lease]) -> tuple[Settlement, list[tuple[Lease, dict[str, Any]]]]:
        """Draw an outcome for each; return them as a call takes them, and as the model does."""
        drawn: list[tuple[Lease, dict[str, Any]]] = []
        for lease in leases:
            outcome: dict[str, Any] = {"outcome": draw(outcomes)}
            if outcome["outcome"] in ("retry", "snooze"):
                outcome["delay"] = draw(soon)
            if outcome["outcome"] == "retry":
                outcome["max_attempts"] = draw(st.sampled_from([None, 1, 2, 3, 9, 9]))
                outcome["give_up_after"] = draw(st.sampled_from([None, None, 0.5, 50.0]))
            if outcome["outcome"] == "cancel":
                outcome["reason"] = "pointless"
            drawn.append((lease, outcome))
        done = [(lease, outcome) for lease, outcome in drawn if outcome["outcome"] in ("complete", "unkept")]
        settlement = Settlement(
            [lease.id for lease, _ in done],
            [lease.run for lease, _ in done],
            None,
            [outcome["outcome"] == "complete" for _, outcome in done],
            [
                {"id": lease.id, "run": lease.run, **outcome}
                for lease, outcome in drawn
                if outcome["outcome"] not in ("complete", "unkept")
            ],
        )
        return settlement, drawn

    def _settled(self, worker: int, drawn: list[tuple[Lease, dict[str, Any]]], step: Step) -> None:
        fenced, cancelled = [], []
        for lease, outcome in drawn:
            job = self.jobs.get(lease.id)
            if job is None or (job.status, job.run, job.worker) != ("running", lease.run, worker):
                fenced.append(lease[:2])
                self._saw("fenced after a rescue", lease[:2] in self.rescued)
                wrong_worker = job is not None and job.status == "running" and job.run == lease.run
                self._saw("fenced by a wrong worker", wrong_worker)
                self._saw("fenced by a wrong run", job is not None and job.worker == worker and job.run != lease.run)
            else:
                if job.asked and outcome["outcome"] in ("retry", "fail"):
                    cancelled.append((job.id, job.run))
                self._apply(job, **outcome)
        assert sorted(step.fenced) == sorted(fenced)
        assert sorted(step.cancelled) == sorted(cancelled)
        assert sorted(step.dead) == sorted((job.id, job.run) for job in self.died)
        self._told()
        assert step.locked == []

    def _apply(
        self, job: Modelled, outcome: str, delay: float = 0, max_attempts: int | None = None, reason: str | None = None,
        give_up_after: float | None = None,
    ) -> None:  # fmt: skip
        if job.asked and outcome not in ("complete", "unkept"):
            failed = outcome in ("retry", "fail")
            self._saw("cancelled as asked after a failure" if failed else "cancelled as asked")
            if failed:
                job.attempts += 1
                job.errors.append(job.run)
            job.end("cancelled", self.now, reason or job.asked)
            return
        self._saw("completed though asked to cancel", job.asked is not None)
        if outcome in ("retry", "fail"):
            job.attempts += 1
            job.errors.append(job.run)
            job.failing_since = job.failing_since or job.claimed_at
        again_at = self.now + timedelta(seconds=delay)
        if outcome in ("complete", "unkept", "cancel"):
            self._saw("finished with errors from before a retry", len(job.errors) > job.attempts)
        match outcome:
            case "complete":
                job.end("completed", self.now)
                self._saw("completed")
            case "unkept":
                del self.jobs[job.id]
                self._saw("completed unkept")
            case "cancel":
                job.end("cancelled", self.now, reason)
                self._saw("cancelled by the handler")
            case "fail":
                self._dies(job, "failed")
                self._saw("failed")
            case "retry" if job.attempts >= (job.max_attempts or max_attempts or 1):
                self._dies(job, "exhausted")
                self._saw("exhausted")
            case "retry" if (
                give_up_after is not None
                and job.failing_since is not None
                and again_at > job.failing_since + timedelta(seconds=give_up_after)
            ):
                self._dies(job, "gave_up")
                self._saw("gave up")
            case "retry" | "snooze":
                job.ready(again_at, job.priority)
                self._saw("retried" if outcome == "retry" else "snoozed")
            case "release":
                job.ready(self.now, -3)
                self._saw("released")

    def say_progress(self, draw: Draw) -> None:
        chosen = self._some_leases(draw, self.leases, at_least=1)
        worker, done = draw(st.sampled_from(self._holders())), draw(st.integers(0, 9))
        leases = [lease._replace(worker=worker) for lease in [*chosen, draw(st.sampled_from(self._held_by(worker)))]]
        leases = list({lease.id: lease for lease in leases}.values())
        assert self.client.progress(leases, [Progress(done)] * len(leases)).locked == []
        for lease in leases:
            if lease in self._held_by(worker):
                self.jobs[lease.id].progress = done

    def _dies(self, job: Modelled, reason: str) -> None:
        job.end("dead", self.now, reason)
        self.died.append(job)

    def _told(self) -> None:
        """For each that died, and whose worker knew what to enqueue then, there is one new job now, and no other."""
        expected = [job.id for job in self.died if job.worker in self.tells and job.task == "work"]
        rows = self.db.execute(
            "select id, (metadata ->> 'on_failure_of')::bigint, (payload #>> '{failed,job_id}')::bigint, task, queue, priority"
            " from pgjobs.jobs where metadata ? 'on_failure_of' and id <> all (%s)",
            (self.ids,),
        ).fetchall()
        assert sorted(row[1:] for row in rows) == sorted((id, id, *NEXT) for id in expected)
        self._committed(
            [
                Modelled(id, queue, priority, None, self.now, priority, task=task)
                for id, _, _, task, queue, priority in rows
            ]
        )
        self._saw("told of a death", bool(rows))
        self._saw("told of no death of what tells", any(job.task == "tell" for job in self.died))
        self.died = []

    # Workers come, live, die

    def _register(self, slot: int) -> ModelledWorker:
        told = dict(zip(("task", "queue", "priority"), NEXT, strict=True))
        following = None if slot == DEAF else json.dumps({"work": told, "tell": told})
        id = self.client.register("by model", "here", 1, "0", SLOTS[slot], 10, LEASE, following)
        if following is not None:
            self.tells.add(id)
        worker = ModelledWorker(id, slot, self.now + LEASE, Cursors(SLOTS[slot]))
        self.workers[id] = worker
        return worker

    def _register_anew(self, worker: ModelledWorker) -> None:
        self.slots[worker.slot] = self._register(worker.slot)

    def _draw_worker(self, draw: Draw) -> ModelledWorker:
        return self.slots[draw(st.integers(0, len(SLOTS) - 1), label="slot")]

    def renew(self, draw: Draw) -> None:
        self._renew(self._draw_worker(draw), draw(st.booleans()))

    def _renew(self, worker: ModelledWorker, since: bool) -> None:
        held = self._running(worker.id)
        claims_since = str(min((job.claimed_at for job in held if job.claimed_at), default=self.now)) if since else None
        if worker.id in self.workers and not worker.lost:
            self.client.renew(worker.id, len(held), claims_since, False)
            worker.lapses_at = self.now + LEASE
            self._saw("renewed")
        else:
            with refused(LeaseLost):
                self.client.renew(worker.id, len(held), claims_since, False)
            self._saw("renewal was refused")
            self._register_anew(worker)

    def list_leases(self, draw: Draw) -> None:
        worker = self._draw_worker(draw)
        assert sorted(self.client.leases(worker.id, 100)) == sorted(self._held_by(worker.id))

    def resign(self, draw: Draw) -> None:
        worker = self._draw_worker(draw)
        held = self._held_by(worker.id)
        assert self.client.resign(worker.id) == 0
        for lease in held:
            self._apply(self.jobs[lease.id], "release")
        self.workers.pop(worker.id, None)
        self._saw("resigned holding jobs", bool(held))
        self._register_anew(worker)

    def time_passes(self, draw: Draw) -> None:
        self._pass(timedelta(seconds=draw(a_while)))

    def days_pass(self, draw: Draw) -> None:
        oldest = min(job.finished_at for job in self.jobs.values() if job.status in FINISHED and job.finished_at)
        until_next = (_period(oldest) + 15 - _period(self.now)) % 16
        self._pass(draw(st.sampled_from([until_next, 1, 15, 17])) * PERIOD)
        self.prune(draw)

    def _pass(self, time: timedelta) -> None:
        if time:
            self.now += time
            self.clock.stop(self.now)

    def die(self, draw: Draw) -> None:
        """One worker claims and falls silent for the length of a lease; the others renew; somebody rescues."""
        slot, limit = draw(st.integers(0, len(SLOTS) - 1), label="slot"), draw(st.integers(1, 3))
        for _ in range(draw(st.sampled_from([1, 1, 3]), label="times")):
            if not self._may_claim(self.slots[slot]):
                self._renew(self.slots[slot], since=False)
            for _ in range(2):
                self._claim(self.slots[slot], limit)
            self._pass(LEASE / 2)
            for worker in self.slots[:slot] + self.slots[slot + 1 :]:
                self._renew(worker, since=True)
            self._pass(LEASE / 2)
            self._rescue(draw(st.sampled_from(self._limits_of_rescue())))

    def rescue(self, draw: Draw) -> None:
        self._rescue(draw(st.sampled_from(self._limits_of_rescue())))

    def _limits_of_rescue(self) -> list[int]:
        """Limits that cut between claims of different moments: which of one moment go first depends on where rows lie,
        and a machine that does not do the same every time is of no use."""
        limits, total = [], 0
        for worker in sorted(self.workers.values(), key=lambda worker: -worker.id):
            if worker.lapses_at <= self.now:
                moments = Counter(job.claimed_at for job in self._running(worker.id))
                for moment in sorted(moment for moment in moments if moment):
                    total += moments[moment]
                    limits.append(total)
        return [*limits, 100, 0]

    def _rescue(self, limit: int) -> None:
        counts = self.client.rescue(limit)
        left, rescued, dead = limit, 0, 0
        still_running = {
            id for (id,) in self.db.execute("select id from pgjobs.jobs where status = 'running'").fetchall()
        }
        for worker in sorted(self.workers.values(), key=lambda worker: -worker.id):
            if left <= 0:
                break
            if worker.lapses_at > self.now:
                continue
            held = self._running(worker.id)
            taken = [job for job in held if job.id not in still_running]
            assert len(taken) == min(left, len(held))
            # Among claims of one moment any may go first.
            oldest_left = min((job.claimed_at for job in held if job not in taken if job.claimed_at), default=self.now)
            assert all(job.claimed_at is not None and job.claimed_at <= oldest_left for job in taken)
            left -= len(taken)
            for job in taken:
                self.rescued.add((job.id, job.run))
                job.crashes += 1
                if job.asked:
                    job.end("cancelled", self.now, job.asked)
                    self._saw("cancelled by a rescue")
                elif job.crashes < 3:
                    job.ready(self.now, -3)
                    rescued += 1
                else:
                    self._dies(job, "crashed")
                    dead += 1
            if len(taken) < len(held):
                worker.lost = True
                self._saw("rescued in part")
            else:
                del self.workers[worker.id]
        assert counts == (rescued, dead)
        self._told()
        self._saw("rescued", rescued > 0)
        self._saw("died of crashes", dead > 0)

    # What people do

    def cancel_and_settle(self, draw: Draw) -> None:
        """Runs are asked to stop, and some of them come to an end."""
        worker = draw(st.sampled_from(self._holders()))
        leases = self._some_leases(draw, self._held_by(worker), at_least=1)
        self._cancel([lease.id for lease in leases])
        settlement, expected = self._settlement(draw, leases[: draw(st.integers(1, 4))])
        self._settled(worker, expected, self.client.settle(worker, settlement))

    def cancel(self, draw: Draw) -> None:
        self._cancel(draw(st.lists(st.sampled_from(self.ids), min_size=1, max_size=3)))

    def _cancel(self, ids: list[int]) -> None:
        waiting = sorted({id for id in ids if id in self.jobs and self.jobs[id].status in WAIT})
        running = sorted({id for id in ids if id in self.jobs and self.jobs[id].status == "running"})
        assert self.client.cancel(ids, "not needed") == Cancellation(waiting, running, [])
        for id in waiting:
            self.jobs[id].end("cancelled", self.now, "not needed")
        for id in running:
            self.jobs[id].asked = "not needed"
        told = sorted({worker for id in running if (worker := self.jobs[id].worker) is not None})
        assert sorted(message["cancel"] for message in self.ear.heard()) == told
        for worker in told:
            asked = [(job.id, job.run, job.asked) for job in self._running(worker) if job.asked]
            assert sorted(self.client.cancel_asked(worker, 100)) == sorted(asked)
        self._saw("cancelled while waiting", bool(waiting))
        self._saw("asked to cancel", bool(running))

    def retry_failed(self, draw: Draw) -> None:
        queue, limit = draw(st.sampled_from([None, None, "a"])), draw(st.integers(1, 4))
        dead = {job.id: job for job in self.jobs.values() if job.status == "dead"}
        ids, after = None, 0
        if draw(st.booleans(), label="by id"):
            ids = draw(st.lists(st.sampled_from(sorted(dead)), min_size=1, max_size=3))
            if draw(st.sampled_from([False, True]), label="and one more"):
                ids.append(draw(st.sampled_from(self.ids)))
        else:
            after = draw(st.sampled_from([0, 0, *dead]))
        if ids is not None and not dead.keys() >= set(ids):
            with refused(JobNotFound):
                self.client.retry_failed(Filter(ids, queue), limit, after)
            self._saw("retried nothing for a missing id")
            return
        fitting = [
            id for id in sorted(dead) if id > after and (ids is None or id in ids) and queue in (None, dead[id].queue)
        ]
        assert self.client.retry_failed(Filter(ids, queue), limit, after) == fitting[:limit]
        for id in fitting[:limit]:
            job = dead[id]
            job.ready(self.now, job.priority)
            job.attempts = job.crashes = 0
            job.finished_at = job.reason = job.failing_since = None
        self._saw("retried a dead letter", bool(fitting))

    def pause(self, draw: Draw) -> None:
        queue = draw(st.sampled_from(["a", "b"]))
        self.db.execute("select pgjobs.pause(%s)", (queue,))
        self.paused.add(queue)

    def resume(self, draw: Draw) -> None:
        queue = draw(st.sampled_from(sorted(self.paused)))
        self.db.execute("select pgjobs.resume(%s)", (queue,))
        self.paused.discard(queue)

    def pause_task(self, draw: Draw) -> None:
        task = draw(st.sampled_from(["work", "rare", "rare", "rare"]))
        self.client.pause(task=task)
        self.paused_tasks.add(task)

    def resume_task(self, draw: Draw) -> None:
        self._resume_task(draw(st.sampled_from(sorted(self.paused_tasks))))

    def _resume_task(self, task: str) -> None:
        self.client.resume(task=task)
        self.paused_tasks.discard(task)
        for job in self._waiting():
            if job.line == f"task/{task}":
                job.status, job.line = "ready", None
                job.available_at = max(job.available_at or self.now, self.now)
                self._saw("taken out of line")
        assert self.client.resume_tasks(100) == 0
        self._heard_again()

    def edit(self, draw: Draw) -> None:
        self._edit(draw(st.sampled_from(self.ids)), draw(edits))

    def edit_in_line(self, draw: Draw) -> None:
        self._edit(draw(st.sampled_from([job.id for job in self._waiting() if job.line])), draw(edits))

    def _edit(self, id: int, change: Edit) -> None:
        job = self.jobs.get(id)
        if job is None or job.status not in WAIT:
            with refused(JobNotFound if job is None else JobNotWaiting):
                self.client.edit(id, change)
            self._saw("edit was refused", job is not None)
            return
        self.client.edit(id, change)
        assert job.available_at is not None
        if change.delay is not None:
            job.available_at = max(self.now, self.now + change.delay)
        elif change.queue is not None or change.priority is not None:
            job.available_at = max(self.now, job.available_at)
        if change.priority is not None:
            job.priority = job.rank = change.priority
        job.queue = change.queue or job.queue
        job.max_attempts = change.max_attempts or job.max_attempts
        self._heard_again()
        self._saw("edited")
        self._saw("edited in line", job.status == "waiting")

    def move(self, draw: Draw) -> None:
        queue, to_queue = draw(st.sampled_from([("a", "b"), ("b", "a")]))
        filter = JobFilter(queue=queue, task=draw(st.sampled_from([None, "work"])), status=draw(live))
        limit, after = draw(limits), draw(st.sampled_from([0, 0, *self.ids]))
        chosen = self._fitting(filter, limit, after)
        assert self.client.move(to_queue, filter, limit, after) == [job.id for job in chosen]
        for job in chosen:
            assert job.available_at is not None
            job.queue, job.available_at = to_queue, max(self.now, job.available_at)
        self._heard_again()
        self._saw("moved", bool(chosen))

    def cancel_where(self, draw: Draw) -> None:
        queue, task = draw(st.sampled_from(["a", "b", None])), draw(st.sampled_from([None, "rare"]))
        filter = JobFilter(queue=queue, task=task, status=draw(live))
        limit, after = draw(st.integers(1, 2)), draw(st.sampled_from([0, 0, *self.ids]))
        chosen = self._fitting(filter, limit, after)
        done = self.client.cancel_where(filter, "not needed", limit, after)
        assert done == Cancellation([job.id for job in chosen], [], [])
        for job in chosen:
            job.end("cancelled", self.now, "not needed")
        self._saw("cancelled by conditions", bool(chosen))

    def _fitting(self, filter: JobFilter, limit: int, after: int) -> list[Modelled]:
        """What fits, by the model, and by a list that changes nothing."""
        chosen = [
            job
            for job in self._waiting()
            if job.id > after
            and filter.queue in (None, job.queue)
            and filter.task in (None, job.task)
            and filter.status in (None, "scheduled" if _scheduled(job, self.now) else job.status)
        ][:limit]
        assert self.client.matching(filter, limit, after) == [job.id for job in chosen]
        return chosen

    def _waiting(self) -> list[Modelled]:
        return [job for _, job in sorted(self.jobs.items()) if job.status in WAIT]

    def _heard_again(self) -> None:
        """Claimers hear of keys that were written again."""
        for message in self.ear.heard():
            for worker in self.slots:
                if "since" in message and message["queue"] in SLOTS[worker.slot]:
                    worker.cursors.back_to(message["queue"], message["since"])

    def prune(self, draw: Draw) -> None:
        next_slot = (_period(self.now) + 1) % 16
        gone = [
            id
            for id, job in self.jobs.items()
            if job.status in FINISHED and job.finished_at and _period(job.finished_at) % 16 == next_slot
        ]
        assert self.client.prune() is bool(gone)
        for id in gone:
            del self.jobs[id]
        self._saw("pruned", bool(gone))

    # After every step

    @invariant()
    def the_tables_show_what_the_model_says(self) -> None:
        rows = self.db.execute(TABLES).fetchall()
        for row in rows:
            id, run = row[0], row[6]
            if id > 0:
                assert run >= self.runs.get(id, 0)
                self.runs[id] = run
        shown = [worker.row for worker in self.workers.values()] + [job.row for job in self.jobs.values()]
        assert rows == sorted(shown, key=lambda row: int(row[0]))

    def teardown(self) -> None:
        """All that is due, or will be, can be drained from the head, in the order that the model expects."""
        if sys.exc_info()[0] is not None:
            return  # a step has failed
        self.tx.rollback()
        for queue in sorted(self.paused):
            self.db.execute("select pgjobs.resume(%s)", (queue,))
        self.paused.clear()
        for task in sorted(self.paused_tasks):
            self._resume_task(task)
        assert self.client.task_overview() == []
        self._pass(timedelta(hours=2))
        self._rescue(1000)
        assert not self.workers
        worker = self._register(0)
        while True:
            scan = worker.cursors.scan(OVERLAP, None, head=True)
            step = self.client.claim(worker.id, 3, scan)
            self._claimed(worker, scan, 3, step)
            if not step.claimed:
                break
            settlement = Settlement([job.id for job in step.claimed], [job.run for job in step.claimed])
            assert self.client.settle(worker.id, settlement).fenced == []
            for claimed in step.claimed:
                self.jobs[claimed.id].end("completed", self.now)
        assert {job.status for job in self.jobs.values()} <= {*FINISHED, "dead"}
        self.the_tables_show_what_the_model_says()

    def _saw(self, what: str, really: bool = True) -> None:
        assert what in WORTH
        if really:
            self.happened[what] += 1


def _scheduled(job: Modelled, now: datetime) -> bool:
    return job.status == "ready" and job.available_at is not None and job.available_at > now


def _period(at: datetime) -> int:
    return int(at.timestamp() // PERIOD.total_seconds())


@contextmanager
def refused(kind: type[PgjobsError]) -> Iterator[None]:
    """The call must raise this error."""
    try:
        yield
    except kind:
        return
    raise AssertionError(f"raised no {kind.__name__}")


def machine_on(connect: Connect) -> type[Machine]:
    """Return the machine for the test's database, whose clock it stops."""
    db = connect()
    clock = StoppedClock(db, START)
    connections = {
        "db": db,
        "clock": clock,
        "tx": connect(autocommit=False),
        "ear": Ear(connect()),
        "happened": Counter[str](),
    }
    return type("MachineOnDatabase", (Machine,), connections)


def profile(examples: int, steps: int, *, shrink: bool = True) -> settings:
    """The same examples every time, so that a failure is the code's and not the day's."""
    return settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        stateful_step_count=steps,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
