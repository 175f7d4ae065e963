"""When the next claim is due, and whether the worker counts as waiting. Pure logic over a monotonic clock.

A worker that waits holds the idle locks, so that enqueuers know to wake it. It takes them with a claim that is expected
to come back empty; whoever commits after that claim sees the locks. An enqueuer that looked just before and commits
just after would be missed, so the claim is repeated a few times soon after the locks were taken. A worker in a backlog
lets the locks go: then enqueuers need not send anything.
"""

from __future__ import annotations

import random
from datetime import datetime

from pgjobs.calls import Step

RECHECKS = (0.010, 0.050, 0.250)  # seconds after taking the idle locks
BUSY = 8  # jobs in one claim that show that asking again soon is better than being told
SOON = 0.002  # seconds between claims while jobs keep coming
SWEEP_EVERY = 0.5  # seconds at the least between looks from the head
SWEEP_SHARE = 0.01  # of the time, at the most
LATE_EVERY = 0.1  # seconds between going back to keys that were announced late, except when idle


class Pace:
    """Decides when to claim. All times are seconds of a monotonic clock, handed in."""

    def __init__(self, poll: float, now: float) -> None:
        self.poll = poll
        self.claim_at = now
        self.full = False  # whether the last claim reached its limit, also where what it took was parked
        self.idle = False  # whether this session holds the idle locks
        self.places: dict[str, int | None] = {}  # and at which place it waits, by queue
        self._want_idle = False
        self._idle_since = now
        self._rechecks = len(RECHECKS)
        self._in_vain = 0  # looks for what is under way
        self._sweep_at = now
        self._late: dict[str, datetime] = {}
        self._late_at = now

    def woken(self, now: float, delay: float) -> None:
        """A job falls due in `delay` seconds."""
        self.claim_at = min(self.claim_at, now + delay)

    def is_for_another(self, queue: str, place: int | None) -> bool:
        """Whether a wake-up that names a place of a queue is for another worker."""
        return place is not None and (not self.idle or self.places.get(queue) != place)

    def announced(self, queue: str, since: datetime, now: float) -> None:
        """A job was committed late: its key is `since`."""
        self._late[queue] = min(since, self._late.get(queue, since))
        self.claim_at = min(self.claim_at, now if self.idle else max(now, self._late_at + LATE_EVERY))

    def take_late(self, now: float) -> dict[str, datetime]:
        """Return the keys to go back to with the next claim; not in every one, because going back costs a walk."""
        if not self._late or (not self.idle and now < self._late_at + LATE_EVERY):
            return {}
        late, self._late, self._late_at = self._late, {}, now
        return late

    def sweep_due(self, now: float) -> bool:
        """Whether the next claim should look from the head."""
        return now >= self._sweep_at

    def sweep_now(self, now: float) -> None:
        """Look from the head with the next claim, and that at once: somebody wants to know whether all is done."""
        self._sweep_at = self.claim_at = now

    def idle_change(self) -> bool | None:
        """Return what the next claim does with the idle locks: take (True), let go (False), leave (None)."""
        return None if self._want_idle == self.idle else self._want_idle

    def claimed(self, step: Step, limit: int, scan_idle: bool | None, head: bool, began: float, now: float) -> None:
        """Plan on from a claim: what it asked (limit, idle change, from the head), when it began, what came back."""
        if head:
            took = now - began
            self._sweep_at = now + max(SWEEP_EVERY, took / SWEEP_SHARE) * random.uniform(0.9, 1.1)
        if scan_idle is not None:
            self.idle = scan_idle
            self.places = step.places
            self._idle_since, self._rechecks = now, 0
        count = len(step.rows)
        self.full = count == limit or step.cursor is not None
        if self.full:
            self._want_idle = self.idle = False  # the claim has let the locks go
            self.claim_at = now
        elif count >= BUSY:
            self._want_idle = False
            self.claim_at = now + SOON
        elif not self.idle:
            self._want_idle = True
            self.claim_at = now
        else:
            self._want_idle = True
            self.claim_at = now + self.poll * random.uniform(0.9, 1.1)
            while self._rechecks < len(RECHECKS):
                again = self._idle_since + RECHECKS[self._rechecks]
                self._rechecks += 1
                if again > now:
                    self.claim_at = min(self.claim_at, again)
                    break
        if step.soon and not self.full:
            # Mostly it is over with the next flush; somebody may be long about it.
            self.claim_at = min(self.claim_at, now + SOON * 2.0**self._in_vain)
        self._in_vain = min(self._in_vain + 1, 6) if step.soon and not count else 0
        if step.due_in is not None:
            self.claim_at = min(self.claim_at, now + step.due_in.total_seconds())
        if self._late and not self.idle:
            self.claim_at = min(self.claim_at, max(now, self._late_at + LATE_EVERY))
