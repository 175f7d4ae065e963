"""How many jobs a second are enqueued by the best bulk way of each system."""

from __future__ import annotations

from collections.abc import Sequence

from bench.scenario import Bench, Case, Figures, Scenario, cost
from bench.systems import System

HOW = {
    "bare": {None: "COPY", "unnest-1000": "INSERT from arrays of 1,000", "unnest": "INSERT from one array"},
    "pgjobs": {None: "COPY", "function": "INSERT from one array"},
}


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """One, or each way that there is."""
    if "bulk" not in system.takes:
        return []
    return [Case(label, {"how": how}) for how, label in HOW.get(system.name, {None: "bulk"}).items()]


def run(bench: Bench, system: System, case: Case) -> Figures:
    """Enqueue into the empty table, no worker there."""
    jobs = bench.parameters["jobs"]
    with bench.stage(system) as stage:
        before, cpu = stage.counters(), stage.server_cpu()
        said = stage.call("bulk", bench.parameters["limit"], count=jobs, **case.options)
        server = stage.server_cpu()
        return {
            "rows/s": round(jobs / said["seconds"]),
            "client µs/job": round(said["cpu"] / jobs * 1e6, 1),
            "server µs/job": round((server - cpu) / jobs * 1e6, 1) if server is not None and cpu is not None else None,
            **cost(jobs, before, stage.counters()),
            "jobs": jobs,
        }


SCENARIO = Scenario(
    "bulk",
    "50,000 jobs of 200 bytes by the best documented bulk way, from one process.",
    cases,
    run,
    ("rows/s", "client µs/job", "server µs/job", "WAL B/job"),
    parameters={"jobs": 50_000, "limit": 120},
    quick={"jobs": 50_000, "limit": 30},
)
