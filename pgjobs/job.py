"""The nouns as values: Job, Lease, Claimed, Spec, Status, Priority. Frozen, and importing nothing of pgjobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple, TypedDict


class Priority(IntEnum):
    """The five levels; lower goes first. A closed set, so that a claim knows which to look for."""

    CRITICAL = -2
    HIGH = -1
    NORMAL = 0
    LOW = 1
    BULK = 2


class Status(StrEnum):
    """Where a job is in its life."""

    READY = "ready"  # runnable once available_at has come
    RUNNING = "running"
    WAITING = "waiting"  # in a line, for something other than its time
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    DEAD = "dead"  # a dead letter: not tried again unless somebody retries it


class JobId(int):
    """The id of a job: an int that also knows whether the job was created by this call."""

    created: bool = True

    def __new__(cls, value: int, created: bool = True) -> JobId:
        self = super().__new__(cls, value)
        if not created:
            self.created = False
        return self


class Lease(NamedTuple):
    """The right to settle one run of a job. Void once the job has been taken back (I3)."""

    id: int
    run: int
    worker: int


class Claimed(NamedTuple):
    """A job as a claim returns it. Texts stay texts: they are read where they are needed, which may be another process."""

    verb: str
    id: int
    run: int
    queue: str
    rank: int
    at: None  # a column of other rows
    task: str
    payload: str
    priority: int
    attempts: int
    crashes: int
    max_attempts: int | None
    timeout: float | None  # seconds
    enqueued_at: str
    metadata: str | None
    version: int | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """What a log entry about it carries."""
        return {"job": self.id, "run": self.run, "queue": self.queue, "task": self.task}


@dataclass(frozen=True, slots=True)
class Spec:
    """A job to be enqueued: a task's name, its arguments as JSON text, and what was said beyond the defaults.

    `delay` and `available_at` exclude each other. None means the default, or as the task says.
    """

    task: str
    payload: str = "{}"
    queue: str = "default"
    priority: int = Priority.NORMAL
    delay: timedelta | None = None
    available_at: datetime | None = None
    max_attempts: int | None = None
    timeout: timedelta | None = None
    metadata: str | None = None
    notify: bool = True
    version: int | None = None  # of the payload; None means 1

    def carrier(self) -> Callable[[str], Spec]:
        """Return what makes the same job with other arguments, given as JSON text.

        Every enqueue asks for one. Made once, for dataclasses.replace takes ten times as long: fields are written past the
        guard that keeps a Spec from being changed.
        """
        same = [(set_field, getattr(self, name)) for name, set_field in _SET.items()]
        set_payload, new = _SET["payload"], object.__new__

        def carry(payload: str) -> Spec:
            spec = new(Spec)
            for set_field, value in same:
                set_field(spec, value)
            set_payload(spec, payload)
            return spec

        return carry


_SET: dict[str, Callable[[Spec, Any], None]] = {field.name: Spec.__dict__[field.name].__set__ for field in fields(Spec)}


class FailedJob(TypedDict):
    """What a task named by `on_failure=` is told of the job that died: its one argument, `failed`."""

    job_id: int
    run: int
    task: str
    queue: str
    payload: dict[str, Any]
    metadata: dict[str, Any] | None
    reason: str  # exhausted, gave_up, failed or crashed, as in dead_letters
    error: str  # the last error in one line
    attempts: int
    crashes: int
    enqueued_at: str  # ISO 8601
    failed_at: str


@dataclass(frozen=True, slots=True)
class AttemptError:
    """How one attempt failed."""

    run: int
    attempt: int
    error: str
    message: str
    traceback: str | None
    started_at: datetime
    failed_at: datetime
    worker: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run says it is. What it did not say is None."""

    done: float | None = None
    total: float | None = None
    message: str | None = None

    @property
    def fraction(self) -> float | None:
        """How much is done, from 0 to 1; None when nobody knows."""
        if self.done is None or not self.total:
            return None
        return min(max(self.done / self.total, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was when it was looked up: live, finished or dead."""

    id: int
    queue: str
    task: str
    status: Status
    priority: Priority
    payload: dict[str, Any]
    attempts: int
    max_attempts: int | None  # None: as the task says
    crashes: int
    run: int
    worker: int | None
    enqueued_at: datetime
    available_at: datetime | None
    claimed_at: datetime | None
    finished_at: datetime | None
    result: Any = None
    reason: str | None = None  # why it was cancelled, or is dead
    metadata: dict[str, Any] | None = None
    version: int = 1  # of the payload
    errors: tuple[AttemptError, ...] = field(default=())
    progress: Progress | None = None  # what its last run said, while it runs and when it is over
    line: str | None = None  # what it waits for, if its status is waiting
