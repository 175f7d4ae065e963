"""The outbox: outcomes on their way to the database, in batches, each under the lease it was made with."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from pgjobs.calls import Settlement
from pgjobs.context import JobContext
from pgjobs.job import Claimed, Lease
from pgjobs.outcome import Cancelled, Done, Failed, Outcome, Release, Snoozed
from pgjobs.payload import length
from pgjobs.task import Task

BATCH = 1_000  # outcomes a statement; more only make it longer
BATCH_LENGTH = 32 * 1024 * 1024  # bytes of their results together, unless one alone is longer

# What became of the job when that is not what the run alone would say.
Ending = Literal["dead", "cancelled"] | None


@dataclass(slots=True)
class Entry:
    """One outcome, and what is needed to write it."""

    lease: Lease
    job: Claimed
    outcome: Outcome
    task: Task[Any, Any] | None  # None: unknown to this worker
    context: JobContext | None = None  # for hooks, where there are any
    seconds: float | None = None


class Outbox:
    """Outcomes that are not settled yet. What could not be settled goes back in; nothing is dropped but by name."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self.waiting: set[Lease] = set()  # for their last progress to be written first

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: Entry) -> None:
        """Add an outcome."""
        self._entries.append(entry)

    def take(self, limit: int = BATCH) -> list[Entry]:
        """Take up to `limit` outcomes of one worker, oldest first, of a bounded size together.

        They are the caller's until put back.
        """
        waiting = self.waiting
        if waiting:
            self._entries = deque(sorted(self._entries, key=lambda entry: entry.lease in waiting))
        entries = self._entries
        worker = entries[0].lease.worker if entries else 0
        size = count = 0
        for entry in entries:
            if count == limit or entry.lease.worker != worker or (waiting and entry.lease in waiting):
                break
            outcome = entry.outcome
            if type(outcome) is Done and outcome.result != "null":
                size += length(outcome.result)
                if count and size > BATCH_LENGTH:
                    break
            count += 1
        return [entries.popleft() for _ in range(count)]

    def leases(self) -> list[Lease]:
        """Return whose outcomes are here."""
        return [entry.lease for entry in self._entries]

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Return outcomes that were not settled, to go first with the next call."""
        self._entries.extendleft(reversed(list(entries)))

    def drop(self, leases: set[Lease]) -> list[Entry]:
        """Remove and return the outcomes of these leases: they are over, nobody waits for them (I3)."""
        dropped = [entry for entry in self._entries if entry.lease in leases]
        self._entries = deque(entry for entry in self._entries if entry.lease not in leases)
        return dropped


def settlement(entries: list[Entry]) -> Settlement:
    """Return the outcomes in the form of the settling statement."""
    if not entries:
        return Settlement()
    done = [entry for entry in entries if type(entry.outcome) is Done]
    results = [entry.outcome.result for entry in done]  # type: ignore[union-attr]
    keep = [entry.task is None or entry.task.options_.keep == "history" for entry in done]
    return Settlement(
        ids=[entry.lease.id for entry in done],
        runs=[entry.lease.run for entry in done],
        results=None if all(result == "null" for result in results) else results,
        keep=None if all(keep) else keep,
        others=[_other(entry) for entry in entries if type(entry.outcome) is not Done],
    )


def _other(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = {"id": entry.lease.id, "run": entry.lease.run}
    match entry.outcome:
        case Failed(error, message, traceback, delay, final):
            fields["outcome"] = "fail" if final else "retry"
            fields |= {"error": error, "message": message, "traceback": traceback}
            if not final:
                fields["max_attempts"] = max_attempts(entry.job, entry.task)
                if entry.task is not None and (give_up_after := entry.task.options_.policy.give_up_after) is not None:
                    fields["give_up_after"] = give_up_after.total_seconds()
                fields["delay"] = (delay if delay is not None else _backoff(entry)).total_seconds()
        case Snoozed(delay):
            fields |= {"outcome": "snooze", "delay": delay.total_seconds()}
        case Cancelled(reason):
            fields |= {"outcome": "cancel", "reason": reason}
        case Release():
            fields["outcome"] = "release"
        case Done():
            raise AssertionError("completed outcomes travel apart")
    return fields


def max_attempts(job: Claimed, task: Task[Any, Any] | None) -> int:
    """How many attempts a job may have: as it says itself, else as the task says."""
    if job.max_attempts is not None:
        return job.max_attempts
    return task.options_.max_attempts if task is not None else 1


def _backoff(entry: Entry) -> timedelta:
    return timedelta(0) if entry.task is None else entry.task.options_.policy.retry.delay(entry.job.attempts + 1)
