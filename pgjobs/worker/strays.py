"""Strays: jobs that were claimed though no slot is free for them. They wait a moment for one, and then go back uncounted."""

from __future__ import annotations

import time

from pgjobs.job import Claimed, Lease

HELD_FOR = 1.0  # seconds a job that does not fit waits for a slot before it is given back


class Strays:
    """Jobs by lease, and until when each may wait."""

    def __init__(self) -> None:
        self._held: dict[Lease, tuple[Claimed, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def hold(self, lease: Lease, job: Claimed, until: float | None = None) -> None:
        """Keep a job for a moment, or until this monotonic time."""
        self._held[lease] = job, time.monotonic() + HELD_FOR if until is None else until

    def due_at(self) -> float:
        """Return when the first of them has waited long enough."""
        return min(until for _, until in self._held.values())

    def take(self) -> list[tuple[Lease, Claimed, float]]:
        """Take all of them, to try again; what still does not fit is held again."""
        held, self._held = self._held, {}
        return [(lease, job, until) for lease, (job, until) in held.items()]

    def take_late(self, all: bool) -> list[tuple[Lease, Claimed]]:
        """Take those that have waited long enough, or all."""
        now = time.monotonic()
        late = [(lease, job) for lease, (job, until) in self._held.items() if all or until <= now]
        for lease, _ in late:
            del self._held[lease]
        return late
