"""What a transaction costs that is left open: rounds of jobs enqueued and drained while it holds its snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.scenario import Bench, Case, Figures, Scenario, median
from bench.scenarios.drain import drain, pilot
from bench.stage import Stage
from bench.systems import System


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """With the snapshot and without, of those that are on PostgreSQL."""
    if system.kind != "postgresql":
        return []
    return [Case("snapshot held", {"held": True}), Case("nothing held", {"held": False})]


def run(bench: Bench, system: System, case: Case) -> Figures:
    """Rounds, each filled and drained by a worker of its own; those at the end against those at the beginning."""
    jobs = bench.count_for(("held", system.name), 1.0, lambda: pilot(bench, system, {}), 500, bench.parameters["jobs"])
    rates, pages = list[int](), list[float]()
    with bench.stage(system) as stage, snapshot(stage) if case.options["held"] else nothing():
        for _ in range(bench.parameters["rounds"]):
            drained = drain(stage, jobs, limit=bench.parameters["limit"])
            rates.append(drained["jobs/s"])
            pages.append(drained["pages/job"])
    some = max(1, len(rates) // 4)
    first, last = median(rates[:some]), median(rates[-some:])
    return {
        "first rounds jobs/s": round(first),
        "last rounds jobs/s": round(last),
        "last by first share": round(last / first, 3),
        "first rounds pages/job": median(pages[:some]),
        "last rounds pages/job": median(pages[-some:]),
        "rounds jobs/s": rates,
        "jobs": jobs,
    }


@contextmanager
def snapshot(stage: Stage) -> Iterator[None]:
    """Hold a snapshot of the system's database, idle in its transaction."""
    assert stage.db is not None
    with stage.beside() as holder:
        holder.execute("begin isolation level repeatable read")
        holder.execute("select count(*) from pg_class")
        yield
        holder.execute("commit")


@contextmanager
def nothing() -> Iterator[None]:
    """Hold nothing."""
    yield


SCENARIO = Scenario(
    "held",
    "An idle transaction holds its snapshot (REPEATABLE READ) while round after round is enqueued and drained.",
    cases,
    run,
    (
        "first rounds jobs/s", "last rounds jobs/s", "last by first share", "first rounds pages/job",
        "last rounds pages/job",
    ),
    parameters={"jobs": 10_000, "rounds": 12, "limit": 120},
)  # fmt: skip
