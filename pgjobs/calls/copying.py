"""Many jobs by COPY: what the database is asked beforehand, and what is then sent.

The database hands out the ids, the time, and which rows announce their queue (pgjobs.reserve_v1); the rows are made here,
in COPY's text format, so that a caller's transaction takes them by whatever library it is open in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, groupby
from typing import Any, NamedTuple

from pgjobs.calls.call import Call, Rows
from pgjobs.job import JobId, Spec

BLOCK = 500  # rows a block: some hundred kilobytes, and the server works while the next one is made
BLOCK_LENGTH = 256 * 1024  # characters of a block, but for its last row
COLUMNS = ("id", "payload", "metadata", "available_at", "enqueued_at", "queue", "task", "priority", "rank", "wake",
           "max_attempts", "timeout", "version")  # fmt: skip

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Copy:
    """What to send where: a table, its columns, the rows in blocks of COPY's text format, in UTF-8."""

    schema: str
    table: str
    columns: Sequence[str]
    blocks: Iterator[bytes]

    @property
    def sql(self) -> str:
        """The statement."""
        return f"copy {self.schema}.{self.table} ({', '.join(self.columns)}) from stdin (format text, encoding 'UTF8')"


class Reserved(NamedTuple):
    """Jobs with ids, and what to write them with."""

    jobs: Sequence[Spec]
    runs: Sequence[range]  # numbers of jobs that follow one another and have the same settings
    at: datetime
    ids: list[JobId]
    flags: frozenset[str]  # queues whose earliest job announces them

    def copy(self, meanwhile: Callable[[], None] | None = None) -> Copy:
        """Return what is to be copied; `meanwhile` is called whenever a block has been sent."""
        return Copy("pgjobs", "jobs", COLUMNS, self._blocks(meanwhile or _nothing))

    def _blocks(self, meanwhile: Callable[[], None]) -> Iterator[bytes]:
        awake = self._awake()
        rows: list[str] = []
        length = 0
        for run in self.runs:
            rest, rest_awake = (self._rest(self.jobs[run.start], flag) for flag in "ft")
            for number in run:
                job = self.jobs[number]
                payload = job.payload
                if "\\" in payload or "\n" in payload or "\t" in payload or "\r" in payload:
                    payload = _escaped(payload)
                metadata = "\\N" if job.metadata is None else _escaped(job.metadata)
                rows.append(f"{self.ids[number]}\t{payload}\t{metadata}{rest_awake if number in awake else rest}")
                length += len(payload)
                if len(rows) == BLOCK or length > BLOCK_LENGTH:
                    yield "".join(rows).encode()
                    rows.clear()
                    length = 0
                    meanwhile()
        yield "".join(rows).encode()

    def _rest(self, job: Spec, wake: str) -> str:
        """What follows payload and metadata in a row: the same for all jobs with these settings."""
        after = job.timeout and f"{job.timeout.days} days {job.timeout.seconds} s {job.timeout.microseconds} us"
        values = (self._key(job), self.at, _escaped(job.queue), _escaped(job.task), int(job.priority), int(job.priority),
                  wake, job.max_attempts, after, job.version)  # fmt: skip
        return "".join("\t\\N" if value is None else f"\t{value}" for value in values) + "\n"

    def _awake(self) -> set[int]:
        """The numbers of the jobs that announce their queue: the first of those that are due before all others in it."""
        first: dict[str, tuple[datetime, int]] = {}
        for run in self.runs:
            job = self.jobs[run.start]
            if job.queue in self.flags:
                key = self._key(job), run.start
                first[job.queue] = min(first.get(job.queue, key), key)
        return {number for _, number in first.values()}

    def _key(self, job: Spec) -> datetime:
        """When a job is due. I5: not in the past."""
        if job.available_at is not None:
            return max(self.at, job.available_at)
        return self.at if job.delay is None else max(self.at, self.at + job.delay)


def reserve(jobs: Sequence[Spec], notify: bool = True) -> Call[Reserved | None]:
    """Get ids for jobs that are then copied; None when this role cannot."""
    runs = list(_runs(jobs))

    def read(rows: Rows) -> Reserved | None:
        if not rows:
            return None
        at, ranges, flags = rows[0]
        ends = iter(map(int, ranges.strip("{}").split(",")))
        ids = map(JobId, chain.from_iterable(range(first, last + 1) for first, last in zip(ends, ends, strict=True)))
        return Reserved(jobs, runs, _EPOCH + timedelta(microseconds=at), list(ids), frozenset(json.loads(flags)))

    return Call(
        "select at, ids, flags from pgjobs.reserve_v1(%s::integer, %s::jsonb, %s::boolean)",
        (len(jobs), json.dumps(list(_kinds(jobs, runs))), notify),
        read,
    )


def _nothing() -> None:
    pass


def _settings(job: Spec) -> tuple[Any, ...]:
    """All but payload and metadata: jobs that are enqueued together have them in common, more often than not."""
    return (job.task, job.queue, job.priority, job.delay, job.available_at, job.max_attempts, job.timeout, job.version)


def _runs(jobs: Sequence[Spec]) -> Iterator[range]:
    start = 0
    for _, alike in groupby(jobs, _settings):
        stop = start + sum(1 for _ in alike)
        yield range(start, stop)
        start = stop


def _kinds(jobs: Sequence[Spec], runs: Sequence[range]) -> Iterable[dict[str, Any]]:
    """The jobs for the database to check, those as one that differ in nothing but in when they are due."""
    kinds: dict[tuple[Any, ...], dict[str, Any]] = {}
    for run in runs:
        job = jobs[run.start]
        payload = all(_is_object(jobs[number].payload) for number in run)
        metadata = all(text is None or _is_object(text) for text in (jobs[number].metadata for number in run))
        *same, delay, available_at = (
            job.task, job.queue, int(job.priority), job.max_attempts, job.version, job.timeout, job.delay, job.available_at,
        )  # fmt: skip
        kind = kinds.setdefault(
            (*same, payload, metadata, delay is None, available_at is None),
            {
                "task": job.task, "queue": job.queue, "priority": int(job.priority), "max_attempts": job.max_attempts,
                "version": job.version, "timeout": None if job.timeout is None else job.timeout.total_seconds(),
                "payload": {} if payload else [], "metadata": {} if metadata else [],
            },
        )  # fmt: skip
        if delay is not None:
            seconds = delay.total_seconds()
            kind["delay"] = max(kind.get("delay", seconds), seconds)
            kind["first_delay"] = min(kind.get("first_delay", seconds), seconds)
        if available_at is not None:
            at = available_at.astimezone(UTC).isoformat(timespec="microseconds")  # as texts they sort as in time
            kind["available_at"] = max(kind.get("available_at", at), at)
            kind["first_available_at"] = min(kind.get("first_available_at", at), at)
    return kinds.values()


def _is_object(text: str) -> bool:
    """Whether a JSON text is an object, if it is one at all, which COPY finds out."""
    return text.startswith("{") or text.lstrip(" \t\r\n").startswith("{")


def _escaped(text: str) -> str:
    """Return a text as COPY has it."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
