"""What is done to many jobs is done in portions, each one verb: what comes next, decided without I/O (I12)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeVar

from pgjobs.calls import SLOTS, Cancellation, Filter, JobFilter, Pruned
from pgjobs.job import Spec
from pgjobs.payload import length

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

PORTION = 1_000  # jobs a call: a statement stays short however many there are
ALL = 2**31 - 1
CHUNK = 5_000  # jobs a statement that enqueues many: a few megabytes of JSON, far from every limit
COPY_FROM = 1_000  # jobs: fewer are there as soon by one statement, and COPY takes three round trips
CHUNK_LENGTH = 32 * 1024 * 1024  # bytes of their payloads and metadata together, unless one alone is longer

# A verb with its arguments, to be asked of whoever has it: a client returns what it does, an AsyncClient a coroutine.
Verb = Callable[[Any], Any]


class Portions(Protocol[T_contra]):
    """Verbs one after the other: `next` returns the next one, None after the last; `took` hears what it returned."""

    def next(self) -> Verb | None: ...
    def took(self, done: T_contra, /) -> None: ...


class ById(Portions[T]):
    """Portions in the order of ids, each beginning after the last id of the one before.

    Arguments: verb, asked of a client with a limit and the id to begin after; ids_of, the ids in what it returned;
    limit, how many at most, None for all; portion, how many a call.
    """

    def __init__(
        self,
        verb: Callable[[Any, int, int], Any],
        ids_of: Callable[[T], Sequence[int]],
        limit: int | None = None,
        portion: int = PORTION,
    ) -> None:
        self._verb, self._ids_of, self._portion = verb, ids_of, portion
        self._left = ALL if limit is None else limit
        self._after = 0

    def next(self) -> Verb | None:
        most, after = min(self._left, self._portion), self._after
        return (lambda client: self._verb(client, most, after)) if most > 0 else None

    def took(self, done: T, /) -> None:
        ids = self._ids_of(done)
        self._left = self._left - len(ids) if len(ids) >= min(self._left, self._portion) else 0
        self._after = max(ids, default=self._after)


def retry_failed(filter: Filter, limit: int | None = None) -> Portions[list[int]]:
    """Make dead letters jobs again. Named ones in one call: all that are named, or none."""
    portion = PORTION if filter.ids is None else ALL
    return ById(lambda client, most, after: client.retry_failed(filter, most, after), list, limit, portion)


def clear_failed(filter: Filter, limit: int | None = None) -> Portions[list[int]]:
    """Delete dead letters for good. Named ones in one call: all that are named, or none."""
    portion = PORTION if filter.ids is None else ALL
    return ById(lambda client, most, after: client.clear_failed(filter, most, after), list, limit, portion)


def failed(filter: Filter, limit: int | None = None) -> Portions[list[int]]:
    """List dead letters."""
    return ById(lambda client, most, after: client.failed(filter, most, after), list, limit)


def move(to_queue: str, filter: JobFilter, limit: int | None = None) -> Portions[list[int]]:
    """Put jobs that do not run into another queue."""
    return ById(lambda client, most, after: client.move(to_queue, filter, most, after), list, limit)


def cancel_where(filter: JobFilter, reason: str | None, limit: int | None = None) -> Portions[Cancellation]:
    """Cancel live jobs that fit."""
    return ById(
        lambda client, most, after: client.cancel_where(filter, reason, most, after),
        lambda done: done.cancelled + done.asked,
        limit,
    )


def matching(filter: JobFilter, limit: int | None = None) -> Portions[list[int]]:
    """List live jobs that fit."""
    return ById(lambda client, most, after: client.matching(filter, most, after), list, limit)


class Prune(Portions[Pruned]):
    """Delete what finished longer ago, slot by slot of the history."""

    portion = 10_000

    def __init__(self, older_than: timedelta) -> None:
        self._older_than = older_than
        self._slot = 0
        self._after = 0

    def next(self) -> Verb | None:
        slot, after = self._slot, self._after
        if slot >= SLOTS:
            return None
        return lambda client: client.prune_history(self._older_than, slot, self.portion, after)

    def took(self, done: Pruned, /) -> None:
        if done.last is not None and done.jobs >= self.portion:
            self._after = done.last
        else:
            self._slot, self._after = self._slot + 1, 0


def are_for_copy(jobs: Sequence[Spec]) -> bool:
    """Whether these jobs are better copied, if that can be done. Times that only the session can read must not be."""
    return len(jobs) >= COPY_FROM and all(
        job.available_at is None or (job.available_at.utcoffset() is not None and job.available_at.year < 9999)
        for job in jobs
    )


def chunks(jobs: Iterable[Spec]) -> list[list[Spec]]:
    """Return the jobs, a statement's worth each."""
    chunks: list[list[Spec]] = []
    size = 0
    for job in jobs:
        its_size = length(job.payload) + length(job.metadata or "")
        size += its_size
        if not chunks or len(chunks[-1]) == CHUNK or size > CHUNK_LENGTH:
            chunks.append([])
            size = its_size
        chunks[-1].append(job)
    return chunks
