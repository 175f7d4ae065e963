"""Where the next claim begins: one cursor per queue and rank, so that no claim walks the dead entries behind it (I8).

Pure bookkeeping. The database says after each claim from where on an entry is to be scanned next; here that is kept,
set back when a late commit announces an older key, and forgotten when the head is to be looked at again.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from datetime import datetime, timedelta

from pgjobs.calls import Scan, Step
from pgjobs.job import Priority

RANKS = (
    -3,
    *sorted(int(priority) for priority in Priority),
)  # -3: released and rescued jobs, whose turn it was already
HEAD = ("-infinity", 0)
NO_RANK = 99  # that no job has: such an entry finds nothing, and costs a look at an empty place of the index


class Cursors:
    """The cursors of one session. A new session begins with new ones: it may have missed announcements."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues = list(queues)
        self._at: dict[tuple[str, int], tuple[str, int]] = {}

    def scan(
        self, overlap: timedelta, idle: bool | None, head: bool = False, closed: Container[str] = frozenset()
    ) -> Scan:
        """Return where to look next: rank by rank, within a rank queue by queue, each claim beginning at another queue.

        head: from the beginning, which finds what no cursor and no announcement would. closed: queues that nothing is to
        be claimed from now; they are named all the same, because the idle locks are taken for all.
        """
        self._queues.append(self._queues.pop(0))  # a full queue must not starve its neighbours
        keys = [(queue, rank) for rank in RANKS for queue in self._queues if queue not in closed]
        keys += [(queue, NO_RANK) for queue in self._queues if queue in closed]
        at = [HEAD if head else self._at.get(key, HEAD) for key in keys]
        return Scan(
            [queue for queue, _ in keys],
            [rank for _, rank in keys],
            [a for a, _ in at],
            [i for _, i in at],
            overlap,
            idle,
        )

    def advance(self, scan: Scan, step: Step) -> None:
        """Take over where the database says that each scanned entry goes on."""
        if step.scanned_to is not None:
            for key in zip(scan.queues[: step.scanned], scan.ranks[: step.scanned], strict=True):
                self._at[key] = (step.scanned_to, 0)
        if step.cursor is not None:
            queue, rank, at, id = step.cursor
            self._at[queue, rank] = (at, id)
        for queue in step.paused:
            self._forget(queue)  # nothing was looked at: when it runs again, begin at the head

    def back_to(self, queue: str, since: datetime) -> None:
        """Set the cursors of a queue back to a key that was announced late, where they are past it."""
        for rank in RANKS:
            at, _ = self._at.get((queue, rank), HEAD)
            if at != HEAD[0] and datetime.fromisoformat(at) >= since:
                self._at[queue, rank] = (since.isoformat(), 0)

    def _forget(self, queue: str) -> None:
        for rank in RANKS:
            self._at.pop((queue, rank), None)
