"""A job in memory as a row, and what an outcome does to it: what sql/functions/settle*.sql do to theirs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pgjobs.calls import Edit, Filter, JobFilter
from pgjobs.errors import InvalidJob, PgjobsError
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

    def is_dead_and_fits(self, filter: Filter, now: datetime) -> bool:
        """Whether it is a dead letter that is meant."""
        return (
            self.status is Status.DEAD and self.finished_at is not None
            and (filter.ids is None or self.id in filter.ids)
            and filter.queue in (None, self.spec.queue) and filter.task in (None, self.spec.task)
            and (filter.error is None or filter.error.lower() in self.error.lower())
            and (filter.since is None or self.finished_at >= now - filter.since)
        )  # fmt: skip

    def is_live_and_fits(self, filter: JobFilter, now: datetime) -> bool:
        """Whether it is a live job that is meant; see pick.sql."""
        if filter.status not in (None, "ready", "scheduled", "waiting", "running"):
            raise InvalidJob(f"Live jobs are ready, scheduled, waiting or running, not {filter.status}.")
        status = "scheduled" if self.status is Status.READY and not self.due(now) else self.status
        wanted = (filter.status,) if filter.status is not None else ("ready", "scheduled")
        return (
            status in wanted
            and (filter.ids is None or self.id in filter.ids)
            and filter.queue in (None, self.spec.queue) and filter.task in (None, self.spec.task)
            and (filter.older_than is None or self.enqueued_at < now - filter.older_than)
            and (filter.newer_than is None or self.enqueued_at >= now - filter.newer_than)
            and (filter.metadata is None or _contains(decode(self.spec.metadata or "null"), decode(filter.metadata)))
        )  # fmt: skip

    def edit(self, change: Edit, now: datetime) -> None:
        """Change what is named; see edit.sql."""
        assert self.available_at is not None
        names = ("priority", "queue", "payload", "metadata", "max_attempts", "timeout", "version")
        named = {name: value for name in names if (value := getattr(change, name)) is not None}
        if change.delay is not None or change.available_at is not None:
            self.available_at = max(now, change.available_at or now + (change.delay or timedelta(0)))
        elif change.queue is not None or change.priority is not None:
            self.available_at = max(now, self.available_at)
        self.spec = dataclasses.replace(self.spec, **named)

    def claim(self, now: datetime) -> Claimed:
        """Begin the next run."""
        spec = self.spec
        self.status, self.run, self.worker, self.claimed_at = Status.RUNNING, self.run + 1, WORKER, now
        return Claimed(
            verb="claimed", id=self.id, run=self.run, queue=spec.queue, rank=spec.priority, at=None,
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


def _contains(whole: Any, part: Any) -> bool:
    """Whether JSON contains other JSON, as PostgreSQL's @> has it."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and _contains(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and all(any(_contains(each, wanted) for each in whole) for wanted in part)
    return isinstance(whole, bool) is isinstance(part, bool) and bool(whole == part)
