"""What a hundred queues cost a worker that works on all of them."""

from __future__ import annotations

from collections.abc import Sequence

from bench.scenario import Bench, Case, Figures, Scenario
from bench.scenarios.drain import drain, pilot
from bench.systems import System


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """One queue, and many."""
    if "queues" not in system.takes:
        return []
    counts = (1, bench.parameters["queues"])
    return [Case(f"{count} queue{'s' if count > 1 else ''}", {"queues": count}) for count in counts]


def run(bench: Bench, system: System, case: Case) -> Figures:
    """Fill round robin, and drain by one process."""
    jobs = bench.count_for(
        ("queues", system.name), bench.parameters["seconds"], lambda: pilot(bench, system, {}), 1_000, 200_000
    )
    with bench.stage(system) as stage:
        return drain(stage, jobs, queues=case.options["queues"], limit=bench.parameters["limit"])


SCENARIO = Scenario(
    "queues",
    "Jobs spread over 100 queues, one worker process on all of them, against one queue.",
    cases,
    run,
    ("jobs/s", "worker µs/job", "server µs/job", "statements/job", "pages/job"),
    parameters={"queues": 100, "seconds": 4.0, "limit": 180},
)
