"""Jobs claimed ahead of free slots, so that the slots stay busy while the database works.

Bounded by time, not by a setting: as many as the slots get through while a claim makes its round trip, measured. So a worker
of short jobs holds hundreds for a few milliseconds, and one whose jobs take long holds none. Only behind a claim that was
full: while every job that is due finds a slot, here or in another worker, nothing is held back from it. What finds no slot
within a moment all the same (the jobs have become longer) goes back uncounted, and so does all of it when the worker stops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from pgjobs.job import Claimed, Lease

MOST = 1_000  # jobs; more do not make a claim cheaper
ROUND_TRIPS = 3.0  # one under way, one to come, and one more, or it could not grow
AT_LEAST = 0.02  # seconds of work, where round trips are shorter: else a busy worker makes many, for a few jobs each
PATIENCE = 0.25  # seconds a job may wait here
WEIGHT = 0.5  # of the newest measurement
ROW = 5  # full claims with outcomes, none between that was not full, that show a stream; one short job shows nothing


class Ahead:
    """The jobs, oldest first, and how many there may be. Times are seconds of a monotonic clock, handed in."""

    def __init__(self) -> None:
        self._jobs: deque[tuple[Lease, Claimed]] = deque()
        # Of those that came together: how many had come with them, and when.
        self._came: deque[tuple[int, float]] = deque()
        self._held = self._taken = 0  # how many have come, and gone
        self.most = 0
        self._rate = 0.0  # jobs a second that the slots get through
        self._took = 0.0  # seconds a full claim takes
        self._began: float | None = None  # when the last full claim was sent
        self._row = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def claimed(self, settled: int, began: float, now: float, full: bool) -> None:
        """Learn from a claim: how many outcomes it settled, from when to when it was under way, whether it was full."""
        if full:
            self._took += WEIGHT * ((now - began) - self._took)
            if self._began is not None:
                self._rate += WEIGHT * (settled / max(began - self._began, 1e-6) - self._rate)
            self._began = began
            self._row += settled > 0
            span = max(self._took * ROUND_TRIPS, AT_LEAST)
            self.most = min(MOST, int(self._rate * span)) if self._row >= ROW else 0
        else:
            self._forget()

    def hold(self, jobs: Collection[tuple[Lease, Claimed]], now: float) -> None:
        """Keep these until there are slots."""
        self._forget_gone()
        self._jobs.extend(jobs)
        self._held += len(jobs)
        self._came.append((self._held, now))

    def take(self) -> tuple[Lease, Claimed] | None:
        """Take the one that has waited longest."""
        if not self._jobs:
            return None
        self._taken += 1
        return self._jobs.popleft()

    def late_at(self) -> float:
        """Return when the first of them will have waited too long."""
        self._forget_gone()
        return self._came[0][1] + PATIENCE

    def give_up(self) -> list[tuple[Lease, Claimed]]:
        """Take all of them, to be given back; and hold no more until full claims show anew how many may be held."""
        jobs = list(self._jobs)
        self._jobs.clear()
        self._came.clear()
        self._taken = self._held
        self._rate = 0.0
        self._forget()
        return jobs

    def _forget_gone(self) -> None:
        while self._came and self._came[0][0] <= self._taken:
            self._came.popleft()

    def _forget(self) -> None:
        self.most, self._row, self._began = 0, 0, None
