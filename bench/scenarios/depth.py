"""What a million other jobs in the table cost: due tomorrow, in another queue, of a lower priority; and five million ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.scenario import Bench, Case, Figures, Scenario, cost
from bench.scenarios.drain import pilot
from bench.systems import System

PORTION = 250_000  # jobs that one call enqueues: what it takes is held in memory

# What is enqueued before, and what of a program that takes.
KINDS: Mapping[str, tuple[dict[str, Any], str | None]] = {
    "nothing else": ({}, None),
    "others in the future": ({"delay": 86_400}, "delay"),
    "others in another queue": ({"queues": 1}, "queues"),
    "others of a lower priority": ({"priority": 2}, "priority"),
    "many ready": ({}, None),
}


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """All for pgjobs; for peers what their programs take, and five million only when they are asked for."""
    if system.kind != "postgresql" or not {"bulk", "delay"} <= system.takes:
        return []
    ours, found = system.name == "pgjobs", []
    for label, (_, needs) in KINDS.items():
        if needs is not None and needs not in system.takes:
            continue
        others = 0
        if label == "many ready":
            others = bench.parameters["ready"]
            if not (ours or bench.all_depths):
                continue
        elif label != "nothing else":
            others = bench.parameters["others" if ours or bench.all_depths else "others of peers"]
        found.append(Case(label, {"others": others}))
    return found


def run(bench: Bench, system: System, case: Case) -> Figures:
    """Fill with the others, then with ours; until so many of ours have started."""
    jobs = bench.count_for(("depth", system.name), 3.0, lambda: pilot(bench, system, {}), 500, bench.parameters["jobs"])
    others, (options, _) = case.options["others"], KINDS[case.label]
    limit = bench.parameters["limit"]
    with bench.stage(system) as stage:
        for start in range(0, others, PORTION):
            stage.fill(min(PORTION, others - start), bench.parameters["filling"], **options)
        stage.fill(jobs)
        before = stage.counters()
        with stage.workers(1) as crew:
            crew.wait_executed(jobs, limit)
            # Of the ready ones more may have started than we have waited for: they count as well.
            executed, span = crew.executed, crew.span
            crew.stop()
            executed_in_all = crew.executed
        return {
            "jobs/s": round((executed - 1) / span),
            **cost(executed_in_all, before, stage.counters()),
            "others": others,
            "jobs": executed,
        }


SCENARIO = Scenario(
    "depth",
    "Drain by one worker process while others are in the table that it is not to run, or not yet.",
    cases,
    run,
    ("jobs/s", "pages/job", "others"),
    parameters={
        "jobs": 50_000, "others": 1_000_000, "others of peers": 100_000, "ready": 5_000_000, "limit": 120, "filling": 600,
    },
)  # fmt: skip
