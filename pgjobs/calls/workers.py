"""What the database is to know of workers, and what becomes of the jobs of those that are lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from pgjobs.calls.call import Call, numbers, read_int, texts
from pgjobs.job import Lease


def register(
    name: str, host: str, pid: int, version: str, queues: Sequence[str], concurrency: int, lease: timedelta,
    on_failure: str | None = None,
) -> Call[int]:  # fmt: skip
    """Register a worker; returns its id. on_failure: as JSON text, by task, the job to enqueue when a job of it dies."""
    return Call(
        "select pgjobs.register_v1(%s::text, %s::text, %s::integer, %s::text, %s::text[], %s::integer, %s::interval,"
        " %s::jsonb)",
        (name, host, pid, version, texts(queues), concurrency, lease, on_failure),
        read_int,
    )


def renew(worker: int, running: int, claims_since: str | None, stopping: bool) -> Call[None]:
    """Renew a worker's lease. Raises LeaseLost when it is gone."""
    return Call(
        "select pgjobs.renew_v1(%s::integer, %s::integer, %s::timestamptz, %s::boolean)",
        (worker, running, claims_since, stopping),
        lambda rows: None,
    )


class Report(NamedTuple):
    """What a worker says of itself when its lease is renewed."""

    worker: int
    running: int
    claims_since: str | None  # it holds nothing that it claimed before; None: it does not know
    stopping: bool

    def news(self, before: Report) -> bool:
        """Whether it says what is not to be kept until the next renewal: it is another worker, or has begun to stop."""
        return (self.worker, self.stopping) != (before.worker, before.stopping)


def renew_many(supervisor: int | None, reports: Sequence[Report]) -> Call[list[int]]:
    """Renew the leases of several workers at once; returns those whose lease is gone."""
    return Call(
        "select worker from pgjobs.renew_many_v1(%s::integer, %s::integer[], %s::integer[], %s::timestamptz[],"
        " %s::boolean[]) worker",
        (supervisor, numbers(each.worker for each in reports), numbers(each.running for each in reports),
         "{" + ",".join("null" if each.claims_since is None else f'"{each.claims_since}"' for each in reports) + "}",
         "{" + ",".join("t" if each.stopping else "f" for each in reports) + "}"),
        lambda rows: [row[0] for row in rows],
    )  # fmt: skip


def hold() -> Call[int]:
    """Show by a lock, for as long as this session lasts, that whoever renews on it is there; returns the id to renew under."""
    return Call("select pgjobs.hold_v1()", (), read_int)


def leases(worker: int, limit: int) -> Call[list[Lease]]:
    """List what a worker holds, oldest claims first."""
    return Call(
        "select id, run from pgjobs.leases_v1(%s::integer, %s::integer)",
        (worker, limit),
        lambda rows: [Lease(id, run, worker) for id, run in rows],
    )


def cancel_asked(worker: int, limit: int) -> Call[list[tuple[int, int, str | None]]]:
    """List the runs of a worker that are asked to stop: id, run, reason."""
    return Call(
        "select id, run, reason from pgjobs.cancel_asked_v1(%s::integer, %s::integer)",
        (worker, limit),
        lambda rows: [(id, run, reason) for id, run, reason in rows],
    )


def resign(worker: int) -> Call[int]:
    """A worker leaves; returns how many jobs it still holds because somebody had them locked."""
    return Call("select pgjobs.resign_v1(%s::integer)", (worker,), read_int)


class Rescued(tuple[int, int]):
    """How many jobs of lost workers go on and how many went to the dead letters, and which workers are suspected."""

    suspected: Sequence[int]  # to be looked at again

    def __new__(cls, rescued: int, dead: int, suspected: Sequence[int] = ()) -> Rescued:
        self = super().__new__(cls, (rescued, dead))
        self.suspected = suspected
        return self


def rescue(limit: int, dead: Sequence[int] = ()) -> Call[Rescued]:
    """Take back jobs of lost workers; returns how many go on and how many went to the dead letters.

    Arguments: limit, of jobs; dead, workers whose process has been seen to end, however long their lease.
    """
    return Call(
        "select coalesce(sum(rescued), 0)::integer, coalesce(sum(dead), 0)::integer,"
        " coalesce(string_agg(worker::text, ' ') filter (where suspected), '')"
        " from pgjobs.rescue_v1(%s::integer, %s::integer[])",
        (limit, numbers(dead)),
        lambda rows: Rescued(rows[0][0], rows[0][1], [int(worker) for worker in rows[0][2].split()]),
    )
