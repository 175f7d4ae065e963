"""What a handler can know about its run and say while it runs: the JobContext."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pgjobs.job import Progress
from pgjobs.payload import storable


class JobInterrupted(BaseException):
    """Raised when the run is to stop: it was cancelled, its time is over, or the worker is shutting down.

    By `JobContext.check()`, between the yields of a task that is a generator, and anywhere in a thread whose task said
    `interrupt=True`.
    """


@dataclass(slots=True)
class JobContext:
    """One run of a job, seen from its handler. A parameter of a task annotated with this type receives it.

    `id` and `run` together are a fencing token for the outside world: a later run of the same job has a higher run.
    """

    id: int
    run: int
    queue: str
    task: str
    attempt: int  # 1 for the first
    max_attempts: int
    enqueued_at: datetime
    started_at: datetime
    timeout: timedelta | None
    metadata: dict[str, Any] | None = None
    _asked: bool = field(default=False, repr=False)
    _started: float = field(default_factory=time.monotonic, repr=False)
    _said: Progress = field(default=Progress(), repr=False)
    _report: Callable[[Progress], None] | None = field(default=None, repr=False)  # who passes on what was said

    @property
    def is_final_attempt(self) -> bool:
        """Whether a failure of this run sends the job to the dead letters."""
        return self.attempt >= self.max_attempts

    @property
    def deadline(self) -> datetime | None:
        """When the timeout is reached; None without one."""
        return self.started_at + self.timeout if self.timeout is not None else None

    @property
    def cancelled(self) -> bool:
        """Whether this run is asked to stop. Threads are not stopped by force: they look here, or call `check()`."""
        return self._asked or self.expired

    @property
    def expired(self) -> bool:
        """Whether this run has reached its timeout."""
        return self.timeout is not None and time.monotonic() - self._started > self.timeout.total_seconds()

    def check(self) -> None:
        """Raise JobInterrupted if this run is asked to stop; do nothing otherwise."""
        if self.cancelled:
            raise JobInterrupted(f"job {self.id} was asked to stop")

    def progress(self, done: float | None = None, total: float | None = None, message: str | None = None) -> None:
        """Say how far this run is; people see it as the job's `progress`. Call it as often as you like, from any thread.

        What is left out stays as it was said last. It is written about once a second, and the last of it before the
        outcome. Raises TypeError for what is not a number or a text, ValueError for infinity and NaN.
        """
        for number in (done, total):
            if number is not None and not isinstance(number, (int, float)):
                raise TypeError(f"progress is counted in numbers, not in {type(number).__name__}")
            if number is not None and not (abs(number) < 1e300 and math.isfinite(number)):
                raise ValueError(f"progress is counted in finite numbers, not in {number}")
        if message is not None and not isinstance(message, str):
            raise TypeError(f"the message of a progress is a text, not {type(message).__name__}")
        last = self._said
        self._said = Progress(
            last.done if done is None else done,
            last.total if total is None else total,
            last.message if message is None else storable(message, 500),
        )
        if self._report is not None:
            self._report(self._said)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that carries the job's id, run, queue and task."""
        return logging.LoggerAdapter(
            logging.getLogger(f"pgjobs.task.{self.task}"),
            {"job": self.id, "run": self.run, "queue": self.queue, "task": self.task},
        )

    def _ask_to_stop(self) -> None:
        self._asked = True
