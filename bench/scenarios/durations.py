"""How near a worker comes to the ideal when jobs take differently long: 90% 0 to 5 ms, 9% 50 ms, 1% 500 ms."""

from __future__ import annotations

from collections.abc import Sequence

from bench.scenario import Bench, Case, Figures, Scenario
from bench.scenarios.drain import drain, pilot
from bench.systems import System

# `--mix` of the programs, by the number of a job modulo 1,000.
MEAN = (900 * 2.5 + 90 * 50 + 10 * 500) / 1000  # ms


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """One."""
    return [Case("mixed")] if {"ms", "bulk"} <= system.takes else []


def run(bench: Bench, system: System, case: Case) -> Figures:
    """One process with so many slots; the ideal keeps all of them busy until the last start."""
    slots = bench.parameters["concurrency"]
    ideal = slots / MEAN * 1000
    jobs = bench.count_for(
        ("durations", system.name),
        bench.parameters["seconds"],
        lambda: min(ideal, pilot(bench, system, {})),
        500,
        1_000_000,
    )
    with bench.stage(system) as stage:
        figures = drain(
            stage, jobs, limit=bench.parameters["limit"], filling={"mix": True}, working={"concurrency": slots}
        )
    return {"share of ideal": round(figures["jobs/s"] / ideal, 3), **figures, "ideal": round(ideal)}


SCENARIO = Scenario(
    "durations",
    "Jobs of mixed durations (90% 0 to 5 ms, 9% 50 ms, 1% 500 ms), one process, concurrency 100: the rate as a share of the "
    "ideal, at which no slot is ever free.",
    cases,
    run,
    ("share of ideal", "jobs/s", "worker µs/job", "server µs/job", "worker MB"),
    parameters={"concurrency": 100, "seconds": 5.0, "limit": 180},
)
