"""What a worker does with jobs: claim them, settle them, give them back, say how far they are."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pgjobs.calls.call import Call, Rows, numbers, texts
from pgjobs.job import Claimed, Lease, Progress


@dataclass(frozen=True, slots=True)
class Scan:
    """Where a claim is to look: one entry per queue and rank, in order, each with the cursor to begin after."""

    queues: Sequence[str]
    ranks: Sequence[int]
    after_at: Sequence[str]
    after_id: Sequence[int]
    overlap: timedelta
    idle: bool | None = None  # take (True) or let go (False) the idle locks


@dataclass(frozen=True, slots=True)
class Step:
    """What one round trip of a worker did. What was claimed is read only when asked for: the next request need not wait."""

    rows: Rows  # the claimed jobs, as they came
    fenced: list[tuple[int, int]]  # (id, run): the lease is over, the outcome is void
    locked: list[tuple[int, int]]  # (id, run): send it again
    paused: list[str]
    cursor: tuple[str, int, str, int] | None  # queue, rank, at, id: where the limit was reached
    scanned: int  # how many entries were scanned to their end
    scanned_to: str | None  # and from when on they are to be scanned next
    due_in: timedelta | None  # when the next job falls due
    dead: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # (id, run): settled, and a dead letter now
    cancelled: list[tuple[int, int]] = dataclasses.field(default_factory=list)  # it failed, but somebody had asked
    places: dict[str, int | None] = dataclasses.field(default_factory=dict)  # where it waits from now on, by queue
    soon: bool = False  # somebody commits jobs just now, and may not say so

    @property
    def claimed(self) -> list[Claimed]:
        """The claimed jobs, in the order they should be started."""
        return list(map(Claimed._make, self.rows))


@dataclass(frozen=True, slots=True)
class Settlement:
    """Outcomes on their way to the database: completed ones in parallel lists, the others as JSON objects."""

    ids: Sequence[int] = ()
    runs: Sequence[int] = ()
    results: Sequence[str] | None = None  # JSON texts; None: no job has a result
    keep: Sequence[bool] | None = None  # None: all go into the history
    others: Sequence[dict[str, Any]] = ()

    def params(self) -> tuple[Any, ...]:
        return (
            numbers(self.ids),
            numbers(self.runs),
            None if self.results is None else "[" + ",".join(self.results) + "]",
            None if self.keep is None else "{" + ",".join("t" if keep else "f" for keep in self.keep) + "}",
            json.dumps(self.others) if self.others else None,
        )


def claim(worker: int, limit: int, scan: Scan) -> Call[Step]:
    """Claim up to `limit` jobs that are due."""
    # Not by claim_v1, which is for people: a function around a function costs 20 µs of the first job's way.
    return _claiming("null, null, null, null, null", (), worker, limit, scan)


def settle_and_claim(worker: int, settlement: Settlement, limit: int, scan: Scan) -> Call[Step]:
    """Write outcomes and claim up to `limit` jobs, in one round trip."""
    settled = "%s::bigint[], %s::integer[], %s::jsonb, %s::boolean[], %s::jsonb"
    return _claiming(settled, settlement.params(), worker, limit, scan)


def _claiming(settled: str, outcomes: tuple[Any, ...], worker: int, limit: int, scan: Scan) -> Call[Step]:
    return Call(
        "select verb, id, run, queue, rank, at, task, payload, priority, attempts, crashes, max_attempts, seconds,"
        f" enqueued_at, metadata, version from pgjobs.settle_and_claim_v1(%s::integer, {settled}, %s::integer, %s::text[],"
        " %s::smallint[], %s::timestamptz[], %s::bigint[], %s::interval, %s::boolean)",
        (worker, *outcomes, limit, texts(scan.queues), numbers(scan.ranks), texts(scan.after_at),
         numbers(scan.after_id), scan.overlap, scan.idle),
        read_step,
    )  # fmt: skip


def settle(worker: int, settlement: Settlement) -> Call[Step]:
    """Write outcomes, each only if its lease still stands."""
    return Call(
        "select verb, id, run from pgjobs.settle_v1(%s::integer, %s::bigint[], %s::integer[], %s::jsonb, %s::boolean[],"
        " %s::jsonb)",
        (worker, *settlement.params()),
        read_step,
    )


def release(leases: Sequence[Lease]) -> Call[Step]:
    """Give jobs of one worker back unstarted, not counted."""
    return Call(
        "select verb, id, run from pgjobs.release_v1(%s::integer, %s::bigint[], %s::integer[])",
        (leases[0].worker, numbers([lease.id for lease in leases]), numbers([lease.run for lease in leases])),
        read_step,
    )


def progress(leases: Sequence[Lease], said: Sequence[Progress]) -> Call[Step]:
    """Write what runs of one worker say of their progress; returns those that are locked for a moment."""
    return Call(
        "select verb, id, run from pgjobs.progress_v1(%s::integer, %s::bigint[], %s::integer[], %s::jsonb)",
        (leases[0].worker, numbers([lease.id for lease in leases]), numbers([lease.run for lease in leases]),
         json.dumps([dataclasses.asdict(each) for each in said])),
        read_step,
    )  # fmt: skip


def read_step(rows: Rows) -> Step:
    claimed: Rows = ()
    unsettled: dict[str, list[tuple[int, int]]] = {"fenced": [], "locked": [], "dead": [], "cancelled": []}
    paused: list[str] = []
    places: dict[str, int | None] = {}
    soon = False
    cursor = None
    scanned, scanned_to, due_in = 0, None, None
    for place, row in enumerate(rows, 1):
        verb = row[0]
        if verb == "scanned":
            scanned, scanned_to = row[2], row[5]
            due_in = None if row[12] is None else timedelta(seconds=row[12])
            claimed = rows[place:]  # all the rest
            break
        if verb == "cursor":
            cursor = (row[3], row[4], row[5], row[1])
        elif verb == "paused":
            paused.append(row[3])
        elif verb == "place":
            places[row[3]] = row[1]
        elif verb == "soon":
            soon = True
        else:
            unsettled[verb].append((row[1], row[2]))
    return Step(
        claimed,
        unsettled["fenced"],
        unsettled["locked"],
        paused,
        cursor,
        scanned,
        scanned_to,
        due_in,
        unsettled["dead"],
        unsettled["cancelled"],
        places,
        soon,
    )
