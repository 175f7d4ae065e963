"""The one conversation of a worker with the database: settle what is finished and claim what fits, in one round trip."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta

import psycopg

from pgjobs.async_client import AsyncClient
from pgjobs.calls import Rows, Step
from pgjobs.connections import is_broken
from pgjobs.errors import NotAllowed, PgjobsError
from pgjobs.job import Claimed, Lease
from pgjobs.outcome import Failed, from_exception
from pgjobs.worker.cursors import Cursors
from pgjobs.worker.pace import Pace
from pgjobs.worker.progress import Board
from pgjobs.worker.settler import Ending, Entry, Outbox, settlement

log = logging.getLogger("pgjobs.worker")

OVERLAP = timedelta(seconds=0.2)  # how far a scan looks back behind the last one while announcements are heard
OVERLAP_DEAF = timedelta(seconds=2)  # and while they are not
RECONCILE_LIMIT = 10_000


class Claimer:
    """Settles and claims for one worker on one connection, which is used for nothing else.

    It knows which batches are still open, hence since when the worker holds claims (`claims_since`). What a claim brought
    is read by `take`, not by `step`: so that the next request can be on its way before.
    """

    def __init__(self, outbox: Outbox, queues: tuple[str, ...], poll: timedelta) -> None:
        self.worker = 0
        self.outbox = outbox
        self.board = Board()
        self.stats: Counter[str] = Counter()
        self.listening = False
        self.on_settled: Callable[[Entry, Ending], None] | None = None  # told what was written
        self._queues = queues
        self._poll = poll
        self._open: dict[str, int] = {}  # start of a batch -> its jobs not yet settled; in order of time
        self._batch_of: dict[Lease, str] = {}
        self._arrived: list[tuple[str, int, Rows]] = []  # start of a batch, worker, its jobs; not yet taken
        self.arrived = 0  # how many these are
        self._scanned_to: str | None = None
        self._doubtful = False
        self._client: AsyncClient | None = None
        self.pace = Pace(poll.total_seconds(), time.monotonic())
        self.attach(None)

    def attach(self, client: AsyncClient | None) -> None:
        """Begin anew: no cursors, and doubt about what was under way. A new session has no idle locks, the same keeps them."""
        idle = client is not None and client is self._client and self.pace.idle
        self._client = client
        self.cursors = Cursors(self._queues)
        places = self.pace.places
        self.pace = Pace(self._poll.total_seconds(), time.monotonic())
        if idle:
            self.pace.idle, self.pace.places = True, places
        self._doubtful = bool(self._open) or self._doubtful

    @property
    def claims_since(self) -> str | None:
        """The time since which this worker holds claims; None while it does not know."""
        if self._doubtful:
            return None
        return next(iter(self._open), self._scanned_to)

    @property
    def held(self) -> set[Lease]:
        """The leases this worker believes it holds: jobs that run or are to run, and unsettled outcomes."""
        arrived = (Lease(row[1], row[2], worker) for _, worker, rows in self._arrived for row in rows)
        return {*self._batch_of, *arrived}

    async def cancel_asked(self) -> list[tuple[int, int, str | None]]:
        """Return which runs of this worker are asked to stop: id, run, reason."""
        return await self._client_().cancel_asked(self.worker, RECONCILE_LIMIT)

    def take(self) -> list[tuple[Lease, Claimed]]:
        """Take what has arrived, in the order it should be started."""
        jobs: list[tuple[Lease, Claimed]] = []
        new = tuple.__new__  # what the classes call in the end
        for batch, worker, rows in self._arrived:
            taken = [(new(Lease, (row[1], row[2], worker)), new(Claimed, row)) for row in rows]
            self._batch_of.update(dict.fromkeys([lease for lease, _ in taken], batch))
            jobs += taken
        self._arrived.clear()
        self.arrived = 0
        return jobs

    async def step(self, free: int, closed: frozenset[str] = frozenset()) -> int:
        """Settle up to a batch of outcomes and claim up to `free` jobs, not from closed queues. Returns how many arrived.

        With free=0 it only settles. A connection error leaves the outcomes in the outbox and is raised.
        """
        began = time.monotonic()
        if self.board:
            await self._write_progress(began)
        entries = self.outbox.take()
        worker = entries[0].lease.worker if entries else self.worker
        # Outcomes of an earlier registration are settled alone: a claim is for the present one.
        claims = free > 0 and worker == self.worker and began >= self.pace.claim_at
        try:
            if claims:
                step = await self._settle_and_claim(entries, free, began, closed)
            elif entries:
                step = await self._client_().settle(worker, settlement(entries))
            else:
                return 0
        except BaseException as error:
            if isinstance(error, PgjobsError) or is_broken(error) or not isinstance(error, Exception):
                self.outbox.put_back(entries)
                self._doubtful = True
                raise
            if not entries:
                raise
            log.warning("a batch of %d outcomes was refused (%s); settling one by one", len(entries), error)
            await self._settle_one_by_one(entries)
            return 0
        self._forget(entries, step)
        return len(step.rows)

    async def reconcile(self) -> int:
        """Compare what the database says this worker holds with what it knows, after a doubtful error and now and then.

        Strangers (a lost reply of a claim) are given back, uncounted. Outcomes whose lease is over are dropped: they
        were settled by a call whose reply was lost, or fenced. Returns how many of both.
        """
        held = {lease for lease in self.held if lease.worker == self.worker}
        real = set(await self._client_().leases(self.worker, RECONCILE_LIMIT))
        strangers = sorted(real - held)
        if strangers:
            log.warning("giving back %d jobs whose claim was not heard of", len(strangers))
            await self._client_().release(strangers)
        gone: list[Entry] = []
        if len(real) < RECONCILE_LIMIT:
            gone = self.outbox.drop(held - real)
            self._close([entry.lease for entry in gone])
            if gone:
                self.stats["fenced"] += len(gone)
            self._doubtful = False
        return len(strangers) + len(gone)

    async def _write_progress(self, now: float) -> None:
        """Write what runs say of their progress, about once a second; before an outcome, which takes it along."""
        said = self.board.take(now, self.outbox.leases())
        self.outbox.waiting.clear()
        for worker in {lease.worker for lease in said}:
            leases = [lease for lease in said if lease.worker == worker]
            try:
                step = await self._client_().progress(leases, [said[lease] for lease in leases])
            except (psycopg.Error, NotAllowed) as error:
                if is_broken(error):
                    self.board.put_back(said)
                    raise
                log.warning("what %d jobs said of their progress was refused: %s", len(leases), error)
            else:
                locked = {lease for lease in leases if (lease.id, lease.run) in step.locked}
                self.board.put_back({lease: said[lease] for lease in locked})
                self.outbox.waiting |= locked

    async def _settle_and_claim(self, entries: list[Entry], free: int, began: float, closed: frozenset[str]) -> Step:
        pace = self.pace
        head = pace.sweep_due(began)
        for queue, since in pace.take_late(began).items():
            self.cursors.back_to(queue, since)
        idle = pace.idle_change()
        scan = self.cursors.scan(OVERLAP if self.listening else OVERLAP_DEAF, idle, head, closed)
        if entries:
            step = await self._client_().settle_and_claim(self.worker, settlement(entries), free, scan)
        else:
            step = await self._client_().claim(self.worker, free, scan)
        self.cursors.advance(scan, step)
        pace.claimed(step, free, idle, head, began, time.monotonic())
        assert step.scanned_to is not None
        self._scanned_to = step.scanned_to
        if step.rows:
            self._open[step.scanned_to] = self._open.get(step.scanned_to, 0) + len(step.rows)
            self._arrived.append((step.scanned_to, self.worker, step.rows))
            self.arrived += len(step.rows)
        return step

    async def _settle_one_by_one(self, entries: list[Entry]) -> None:
        """Find the outcome that spoils the batch, and make it a failed attempt."""
        for done, entry in enumerate(entries):
            try:
                try:
                    step = await self._client_().settle(entry.lease.worker, settlement([entry]))
                except Exception as error:
                    if isinstance(error, PgjobsError) or is_broken(error):
                        raise
                    failed = from_exception(error)
                    assert isinstance(failed, Failed)
                    entry.outcome = failed
                    log.warning(
                        "job %d: its outcome was refused and counts as a failed attempt: %s", entry.lease.id, error,
                        extra=entry.job.fields,
                    )  # fmt: skip
                    step = await self._client_().settle(entry.lease.worker, settlement([entry]))
            except BaseException:
                self.outbox.put_back(entries[done:])
                self._doubtful = True
                raise
            self._forget([entry], step)

    def _forget(self, entries: list[Entry], step: Step) -> None:
        """Close what was settled or fenced; put back what was locked for a moment."""
        if not entries:
            return
        if step.fenced or step.locked:
            entries = self._settled(entries, step)
        for kind, count in Counter([type(entry.outcome) for entry in entries]).items():
            self.stats[kind.__name__.lower()] += count
        if self.on_settled is not None:
            endings: dict[tuple[int, int], Ending] = dict.fromkeys(step.dead, "dead")
            endings |= dict.fromkeys(step.cancelled, "cancelled")
            for entry in entries:
                self.on_settled(entry, endings.get((entry.lease.id, entry.lease.run)))
        self._close([entry.lease for entry in entries])

    def _settled(self, entries: list[Entry], step: Step) -> list[Entry]:
        """Return which were settled, after looking after the others."""
        fenced, locked = set(step.fenced), set(step.locked)
        settled, void, back = [], [], []
        for entry in entries:
            key = (entry.lease.id, entry.lease.run)
            if key in locked:
                back.append(entry)
            elif key in fenced:
                void.append(entry.lease)
                log.warning("job %d: run %d was taken back before it was settled; its outcome is void", *key,
                            extra=entry.job.fields)  # fmt: skip
            else:
                settled.append(entry)
        self.stats["fenced"] += len(void)
        self._close(void)
        self.outbox.put_back(back)
        return settled

    def _close(self, leases: Iterable[Lease]) -> None:
        """These are over: their batches hold the fewer."""
        forget = self._batch_of.pop
        for batch, count in Counter([forget(lease, None) for lease in leases]).items():
            if batch is not None:
                self._open[batch] -= count
                if not self._open[batch]:
                    del self._open[batch]

    def _client_(self) -> AsyncClient:
        if self._client is None:
            raise psycopg.OperationalError("not connected")
        return self._client
