"""Who keeps the lease of a worker: a keeper of its own here; under a supervisor, that one (see link.py).

Either way a worker that could not renew for the length of a lease, counted from before the last renewal that succeeded was
sent, must think its jobs lost: by the clock of the database they may be in other hands. What it times alone it times on a
monotonic clock (I5).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from pgjobs.calls import Report
from pgjobs.worker.upkeep import Upkeep


class Keeping:
    """Knows until when the lease of a worker is good, and tells once when it is not.

    Arguments: lease; report, what the worker says of itself, replaced as a whole, so that another thread reads one
    consistent state; on_lost, called with the worker whose lease is over, from any thread.
    """

    def __init__(self, lease: timedelta, report: Report, on_lost: Callable[[int], None]) -> None:
        self._lease = lease
        self._on_lost = on_lost
        self._told: int | None = None  # the worker whose loss was told already
        self._report = report
        self.good_until = time.monotonic() + lease.total_seconds()

    @property
    def report(self) -> Report:
        """What the worker last said of itself."""
        return self._report

    @report.setter
    def report(self, report: Report) -> None:
        before, self._report = self._report, report
        if report.news(before):
            self.news()

    def news(self) -> None:
        """The report says what is not to be kept until the next renewal."""

    def start(self) -> None:
        """Begin to keep the lease."""

    def stop(self) -> None:
        """Let it be."""

    def renewed(self, sent: float) -> None:
        """A renewal, or a registration, that was sent at this monotonic time was successful."""
        self.good_until = sent + self._lease.total_seconds()
        self._told = None

    def check(self) -> None:
        """Tell `on_lost` if no renewal has succeeded for the length of a lease."""
        if time.monotonic() > self.good_until:
            self.lost(self.report.worker)

    def lost(self, worker: int) -> None:
        """Tell `on_lost`, once for a worker."""
        if self._told != worker:
            self._told = worker
            self._on_lost(worker)


class Keeper(Keeping):
    """A thread that renews for one worker on a connection of its own, and does the upkeep."""

    def __init__(self, dsn: str, lease: timedelta, report: Report, on_lost: Callable[[int], None]) -> None:
        super().__init__(lease, report, on_lost)
        self.upkeep = Upkeep(dsn, lease, self._reports, self._renewed, self.lost)

    def start(self) -> None:
        """Start the thread."""
        self.upkeep.start()

    def stop(self) -> None:
        """End the thread and its connection."""
        self.upkeep.stop()

    def news(self) -> None:
        """Renew at once: until a worker is renewed, its session holds no lock by which others see that it is there."""
        self.upkeep.now(self.upkeep.renew)

    def _reports(self) -> list[Report]:
        return [self.report] if self.report.worker else []

    def _renewed(self, workers: Sequence[int], sent: float) -> None:
        if self.report.worker in workers:
            self.renewed(sent)
