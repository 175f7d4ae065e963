"""A job in memory as a row, and what an outcome does to it: what sql/functions/settle*.sql do to theirs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pgjobs.errors import PgjobsError
from pgjobs.job import AttemptError, Claimed, Job, Priority, Spec, Status
from pgjobs.payload import decode

WORKER = 1  # whose leases they are

_OTHER = {"id", "run", "outcome", "delay", "error", "message", "traceback", "reason", "max_attempts", "give_up_after"}


class NotSupported(PgjobsError):
    """A stand-in for the database was asked for something that only a real one does."""


@dataclass(slots=True)
class Row:
    """A job. Texts are JSON, as a driver would carry them: nothing of a caller's objects is kept."""

    spec: Spec
    id: int
    enqueued_at: datetime
    available_at: datetime | None
    status: Status = Status.READY
    run: int = 0
    attempts: int = 0
    claimed_at: datetime | None = None
    failing_since: datetime | None = None
    finished_at: datetime | None = None
    worker: int | None = None
    result: str | None = None
    reason: str | None = None
    error: str = ""  # of a dead letter
    errors: list[AttemptError] = field(default_factory=list)

    @property
    def order(self) -> tuple[int, datetime, int]:
        """What is claimed first sorts first."""
        assert self.available_at is not None
        return self.spec.priority, self.available_at, self.id

    def due(self, now: datetime) -> bool:
        """Whether it may be claimed."""
        return self.status is Status.READY and self.available_at is not None and self.available_at <= now

    def claim(self, now: datetime) -> Claimed:
        """Begin the next run."""
        at, spec = self.available_at, self.spec
        self.status, self.run, self.worker, self.claimed_at = Status.RUNNING, self.run + 1, WORKER, now
        return Claimed(
            verb="claimed", id=self.id, run=self.run, queue=spec.queue, rank=spec.priority, available_at=str(at),
            task=spec.task, payload=spec.payload, priority=spec.priority, attempts=self.attempts, crashes=0,
            max_attempts=spec.max_attempts, timeout=None if spec.timeout is None else spec.timeout.total_seconds(),
            enqueued_at=self.enqueued_at.isoformat(), metadata=spec.metadata, version=spec.version,
        )  # fmt: skip

    def settle(self, other: Mapping[str, Any], now: datetime) -> None:
        """Write an outcome other than completed, in the form that settle takes."""
        if unknown := other.keys() - _OTHER:
            raise NotSupported(f"Jobs in memory know no {min(unknown)}: test this on a real database.")
        outcome = other["outcome"]
        again = now + timedelta(seconds=max(other.get("delay") or 0, 0))
        if outcome == "cancel":
            self.finish(now, Status.CANCELLED, reason=other["reason"])
        elif outcome in ("retry", "fail") and (ending := self._fail(other, now, again)):
            self.finish(now, Status.DEAD, reason=f"{ending}: {self.error}")
        else:
            self.status, self.worker, self.claimed_at = Status.READY, None, None
            self.available_at = again

    def finish(self, now: datetime, status: Status, *, result: str | None = None, reason: str | None = None) -> None:
        """End its life."""
        self.status, self.result, self.reason = status, result, reason
        self.finished_at, self.available_at = now, None

    def revive(self, now: datetime) -> None:
        """Make a dead letter a job again."""
        self.status, self.attempts, self.available_at = Status.READY, 0, now
        self.finished_at = self.claimed_at = self.failing_since = self.worker = self.reason = None

    def job(self, errors: Sequence[AttemptError] = ()) -> Job:
        """Return it as it is looked up."""
        spec = self.spec
        return Job(
            id=self.id, queue=spec.queue, task=spec.task, status=self.status, priority=Priority(spec.priority),
            payload=decode(spec.payload), attempts=self.attempts, max_attempts=spec.max_attempts, crashes=0,
            run=self.run, worker=self.worker, enqueued_at=self.enqueued_at, available_at=self.available_at,
            claimed_at=self.claimed_at, finished_at=self.finished_at,
            result=None if self.result is None else decode(self.result), reason=self.reason,
            metadata=None if spec.metadata is None else decode(spec.metadata), version=spec.version or 1,
            errors=tuple(errors),
        )  # fmt: skip

    def death(self, following: Mapping[str, Any]) -> Spec | None:
        """Return the job to be enqueued because this one died, by what `on_failure` says of tasks; see on_failure.sql."""
        next = following.get(self.spec.task)
        metadata = {} if self.spec.metadata is None else decode(self.spec.metadata)
        if self.status is not Status.DEAD or next is None or "on_failure_of" in metadata:
            return None
        assert self.reason is not None
        assert self.finished_at is not None
        failed = {
            "job_id": self.id, "run": self.run, "task": self.spec.task, "queue": self.spec.queue,
            "payload": decode(self.spec.payload), "metadata": metadata or None,
            "reason": self.reason.partition(":")[0], "error": self.error, "attempts": self.attempts, "crashes": 0,
            "enqueued_at": self.enqueued_at.isoformat(), "failed_at": self.finished_at.isoformat(),
        }  # fmt: skip
        return Spec(
            next["task"], json.dumps({"failed": failed}), next["queue"], next["priority"],
            metadata=json.dumps({"on_failure_of": self.id}), version=next["version"],
        )  # fmt: skip

    def _fail(self, other: Mapping[str, Any], now: datetime, again: datetime) -> str | None:
        """Count a failed attempt, and return why it was the last, if it was."""
        assert self.claimed_at is not None
        self.attempts += 1
        self.failing_since = self.failing_since or self.claimed_at
        error, message = other["error"], other["message"]
        self.error = f"{error}: {message}" if message else error
        self.errors.append(
            AttemptError(self.run, self.attempts, error, message, other["traceback"], self.claimed_at, now, WORKER)
        )
        if other["outcome"] == "fail":
            return "failed"
        if self.attempts >= (self.spec.max_attempts or other["max_attempts"]):
            return "exhausted"
        most = other.get("give_up_after")
        return "gave_up" if most is not None and again > self.failing_since + timedelta(seconds=most) else None
