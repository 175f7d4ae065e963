"""How soon a job starts: from the return of its enqueue's commit to the start of its handler, at fixed rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.environments import by_sql
from bench.running import Failed
from bench.scenario import Bench, Case, Figures, Scenario, percentiles
from bench.systems import System

PER_CLIENT = 100  # jobs a second that one client brings


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """One for each rate; where one client can do it, and a system has a statement for it, also by a client that all share."""
    if "stamps" not in system.takes:
        return []
    found = []
    for rate, seconds in bench.parameters["rates"]:
        options = {"rate": rate, "count": round(rate * seconds)}
        found.append(Case(f"{rate:,}/s", options, place=rate))
        if system.by_sql is not None and rate <= PER_CLIENT:
            found.append(Case(f"{rate:,}/s, the same client", {**options, "by_sql": True}, place=rate))
    return found


def run(bench: Bench, system: System, case: Case) -> Figures:
    """One worker process, one open-loop client for every 100 jobs a second."""
    rate, count = case.options["rate"], case.options["count"]
    with bench.stage(system) as stage:
        enqueued, started = stage.folder / "enqueued", stage.folder / "started"
        with stage.workers(1, stamps=started) as crew:
            crew.wait_ready()
            crew.at_rest(1.0)
            server = stage.server_cpu()
            client = replace(stage, environment=by_sql(system)) if case.options.get("by_sql") else stage
            clients = max(1, rate // PER_CLIENT)
            seconds = client.call(
                "enqueue", count / rate * 2 + 30, count=count, rate=rate, clients=clients, stamps=enqueued
            )["seconds"]
            crew.wait_executed(count, bench.parameters["patience"])
            stage.wait_settled(30)
            after, worker, resident = stage.server_cpu(), crew.cpu(), crew.resident()
            crew.stop()
        starts, committed, called = started_at(started), stamps(enqueued), stamps(enqueued, 2)
    if starts.keys() != committed.keys():
        raise Failed(f"{len(starts):,} jobs of {len(committed):,} were started.")
    return {
        **percentiles([1000 * (starts[n] - at) for n, at in committed.items()]),
        **from_call(percentiles([1000 * (starts[n] - at) for n, at in called.items()])),
        "worker µs/job": round(worker / count * 1e6, 1),
        "server µs/job": round((after - server) / count * 1e6, 1) if after is not None and server is not None else None,
        "worker MB": round(resident / 1e6, 1),
        "enqueued/s": round(count / seconds, 1),
        "jobs": count,
    }


def from_call(figures: Figures) -> Figures:
    """The same under other names: a client that is told late of its commit waits for less, and not for longer in all."""
    return {f"call to start {name}": value for name, value in figures.items()}


def stamps(path: Path, column: int = 1) -> dict[int, float]:
    """Of each job by its number, when its enqueue returned, or (column 2) was called."""
    with path.open() as lines:
        return {int(fields[0]): float(fields[column]) for fields in map(str.split, lines)}


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
    (
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
        "call to start p50 ms",
        "call to start p99 ms",
        "worker µs/job",
        "server µs/job",
        "worker MB",
    ),
    parameters={"rates": [[1, 20], [20, 15], [200, 10], [2000, 8]], "patience": 20},
    quick={"rates": [[20, 6]], "patience": 10},
)
