"""How soon a job starts: from the return of its enqueue's commit to the start of its handler, at fixed rates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.running import Failed
from bench.scenario import Bench, Case, Figures, Scenario, percentiles
from bench.systems import System


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """One for each rate."""
    if "stamps" not in system.takes:
        return []
    return [
        Case(f"{rate:,}/s", {"rate": rate, "count": round(rate * seconds)})
        for rate, seconds in bench.parameters["rates"]
    ]


def run(bench: Bench, system: System, case: Case) -> Figures:
    """One worker process, one open-loop client for every 100 jobs a second."""
    rate, count = case.options["rate"], case.options["count"]
    with bench.stage(system) as stage:
        enqueued, started = stage.folder / "enqueued", stage.folder / "started"
        with stage.workers(1, stamps=started) as crew:
            crew.wait_ready()
            crew.at_rest(1.0)
            server = stage.server_cpu()
            seconds = stage.call(
                "enqueue", count / rate * 2 + 30, count=count, rate=rate, clients=max(1, rate // 100), stamps=enqueued
            )["seconds"]
            crew.wait_executed(count, bench.parameters["patience"])
            stage.wait_settled(30)
            after, worker, resident = stage.server_cpu(), crew.cpu(), crew.resident()
            crew.stop()
        waits = sorted(1000 * wait for wait in waits_of(enqueued, started).values())
    if len(waits) != count:
        raise Failed(f"{len(waits):,} jobs of {count:,} were both enqueued and started.")
    return {
        **percentiles(waits),
        "worker µs/job": round(worker / count * 1e6, 1),
        "server µs/job": round((after - server) / count * 1e6, 1) if after is not None and server is not None else None,
        "worker MB": round(resident / 1e6, 1),
        "enqueued/s": round(count / seconds, 1),
        "jobs": count,
    }


def waits_of(enqueued: Path, started: Path) -> dict[int, float]:
    """Seconds from commit to first start, of each job by its number."""
    committed, waits = stamps(enqueued), dict[int, float]()
    for n, at in started_at(started).items():
        if n in committed:
            waits[n] = at - committed[n]
    return waits


def stamps(path: Path) -> dict[int, float]:
    """Number and time of each line."""
    with path.open() as lines:
        return {int(n): float(at) for n, at in (line.split() for line in lines)}


def started_at(path: Path) -> dict[int, float]:
    """When each job started for the first time."""
    first: dict[int, float] = {}
    with path.open() as lines:
        for n, at in (line.split() for line in lines):
            first.setdefault(int(n), float(at))
    return first


SCENARIO = Scenario(
    "latency",
    "From the return of an enqueue's commit to the start of the handler, one worker process, open loop at fixed rates.",
    cases,
    run,
    ("p50 ms", "p95 ms", "p99 ms", "max ms", "worker µs/job", "server µs/job", "worker MB"),
    parameters={"rates": [[1, 20], [20, 15], [200, 10], [2000, 8]], "patience": 20},
    quick={"rates": [[20, 6]], "patience": 10},
)
