"""One run of a job under way: what is known of it from its start to its outcome, which then travels to the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pgjobs.context import JobContext
from pgjobs.job import Claimed, Lease
from pgjobs.middleware import Around
from pgjobs.outcome import Cancelled, Release
from pgjobs.payload import decode
from pgjobs.task import Task
from pgjobs.worker.settler import Entry

GIVEN_BACK = Release()


class Run(Entry):
    """A run, which becomes the entry of its outcome. Until it has one it counts as cut short.

    asked: what it is to be if it is cut short, because somebody wants it cancelled. work: its executor's own. watch: who
    is told of it. context: only made where somebody may look at it.
    """

    __slots__ = ("asked", "watch", "work")

    # It is itself and no other, whatever they have in common.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self, lease: Lease, job: Claimed, task: Task[Any, Any] | None) -> None:
        self.lease = lease
        self.job = job
        self.outcome = GIVEN_BACK
        self.task = task
        self.context = None
        self.seconds = None
        self.asked: Cancelled | None = None
        self.watch: Watch | None = None
        self.work: Any = None

    @property
    def timeout(self) -> timedelta | None:
        """How long it may take: as the job says, else as its task does."""
        if self.job.timeout is not None:
            return timedelta(seconds=self.job.timeout)
        return self.task.options_.timeout if self.task is not None else None


class Watch:
    """What those who are told of a run need to know: when it began, and what is around it."""

    __slots__ = ("around", "began")

    def __init__(self, began: float, around: Around | None) -> None:
        self.began = began
        self.around = around


def make_context(job: Claimed, task: Task[Any, Any]) -> JobContext:
    """Return what the handler can know about its run. Raises ValueError for metadata that Python cannot hold."""
    options = task.options_
    return JobContext(
        job.id, job.run, job.queue, job.task, job.attempts + 1,
        options.max_attempts if job.max_attempts is None else job.max_attempts,
        datetime.fromisoformat(job.enqueued_at), datetime.now(UTC),
        options.timeout if job.timeout is None else timedelta(seconds=job.timeout),
        None if job.metadata is None else decode(job.metadata),
    )  # fmt: skip
