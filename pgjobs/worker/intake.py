"""What a worker takes in: how many jobs it asks for, and when they begin.

The request goes first: what one reply has brought is read and begun while the database works for the next.
"""

from __future__ import annotations

import asyncio
import time

from pgjobs.worker.claimer import Claimer
from pgjobs.worker.runs import Runs
from pgjobs.worker.settler import BATCH
from pgjobs.worker.slots import Slots
from pgjobs.worker.stop import Stop

FEW = 32  # jobs that are begun before the next request is made; when more have come, it goes first


class Intake:
    """Claims for the free slots, and for some that will be free when the jobs arrive; begins what has arrived."""

    def __init__(self, slots: Slots, claimer: Claimer, runs: Runs, stop: Stop) -> None:
        self._slots = slots
        self._claimer = claimer
        self._runs = runs
        self._stop = stop

    @property
    def capacity(self) -> int:
        """How many jobs the worker may hold at a time, running or not."""
        return self._slots.total + self._runs.ahead.most

    @property
    def waiting(self) -> int:
        """How many jobs are claimed and have not begun."""
        return self._claimer.arrived + len(self._runs.ahead)

    def room(self) -> tuple[int, frozenset[str]]:
        """Return how many jobs to claim now, and from which queues none."""
        room = self._slots.room()
        # Half of what fits at a time: while the database works for one half, the loop runs the other.
        half = (self.capacity + 1) // 2
        if not self._slots.shared:
            return min(room.limit - self.waiting, half), room.closed
        return min(room.limit + self._runs.ahead.most - self.waiting, half), frozenset()

    async def step(self, wanted: int, closed: frozenset[str]) -> bool:
        """Settle, and claim up to so many; meanwhile begin what arrived before. Return whether it claimed."""
        pace = self._claimer.pace
        began, outcomes = time.monotonic(), len(self._claimer.outbox)
        claims = wanted > 0 and began >= pace.claim_at
        if self._claimer.arrived:
            await self._step_and_begin(wanted, closed)
        else:
            await self._claimer.step(wanted, closed)
        if claims and self._slots.shared:
            self._runs.ahead.claimed(min(outcomes, BATCH), began, time.monotonic(), pace.full)
        return claims

    def begin(self) -> None:
        """Start what has arrived, as far as there are slots; at a stop give all of it back."""
        self._runs.hold(self._claimer.take())
        if self._stop:
            self._runs.give_back()
        else:
            self._runs.begin(self._slots.room().limit if self._slots.shared else len(self._runs.ahead))

    def void(self) -> None:
        """Begin nothing of what was claimed: its lease is lost."""
        self._runs.hold(self._claimer.take())
        self._runs.give_back()

    def is_few(self) -> bool:
        """Whether so little has arrived that it is begun before anything else."""
        return 0 < self._claimer.arrived < FEW

    async def _step_and_begin(self, wanted: int, closed: frozenset[str]) -> None:
        stepping = asyncio.create_task(self._claimer.step(wanted, closed))
        try:
            await asyncio.sleep(0)  # until the request is sent
            self.begin()
            await stepping
        except asyncio.CancelledError:
            stepping.cancel()
            await asyncio.gather(stepping, return_exceptions=True)
            raise
