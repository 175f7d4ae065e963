"""How many no-op jobs a second go through: filled first, then worked off by 1, 2 and 4 worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.counters import Statements
from bench.running import Failed
from bench.scenario import Bench, Case, Figures, Scenario, cost
from bench.stage import Stage
from bench.systems import System

KEPT = {False: "nothing kept", True: "kept"}


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """Processes with the best executor, each retention; every other executor in one process."""
    found = [
        Case(f"{count} process{'es' if count > 1 else ''}, {KEPT[keep]}", {"processes": count, "keep": keep}, count)
        for keep in system.keeps
        for count in bench.parameters["processes"]
    ]
    for executor in system.executors[1:]:
        if bench.quick and not executor.endswith("-100"):
            continue  # the others are for a long run
        found.append(Case(f"1 process, {executor}", {"processes": 1, "keep": system.keeps[0], "executor": executor}, 1))
    return found


def run(bench: Bench, system: System, case: Case) -> Figures:
    """Fill, then drain; as many jobs as take some seconds."""
    options = dict(case.options)
    jobs = bench.parameters["jobs"] or bench.count_for(
        (system.name, case.label),
        bench.parameters["seconds"],
        lambda: pilot(bench, system, options),
        bench.parameters["least"],
        bench.parameters["most"],
    )
    key = (system.name, case.label)
    with bench.stage(system) as stage:
        figures = drain(stage, jobs, limit=bench.parameters["limit"], **options)
    if key not in bench.statements and (counted := statements(bench, system, options)) is not None:
        bench.statements[key] = counted
    if key in bench.statements:
        figures["statements/job"] = bench.statements[key]
    return figures


def pilot(bench: Bench, system: System, options: dict[str, Any]) -> float:
    """Jobs a second in a short run, which is not counted; of what is fast, in one that is not as short."""
    rate = 0.0
    for jobs, least in ((500, 0), (10_000, 5_000)):
        if rate >= least:
            with bench.stage(system) as stage:
                rate = float(drain(stage, jobs, limit=120, **options)["jobs/s"])
    return rate


def drain(
    stage: Stage,
    jobs: int,
    processes: int = 1,
    keep: bool = False,
    executor: str | None = None,
    queues: int | None = None,
    limit: float = 300,
    filling: dict[str, Any] | None = None,
    working: dict[str, Any] | None = None,
) -> Figures:
    """Enqueue so many jobs, and let so many processes work them off; filling and working: further options of each."""
    shared: dict[str, Any] = {"executor": executor, "keep": keep, "queues": queues}
    filled = stage.fill(jobs, **shared, **(filling or {}))
    before = stage.counters()
    cpu = stage.server_cpu()
    with stage.workers(processes, **shared, **(working or {})) as crew:
        crew.wait_executed(jobs, limit)
        stage.wait_settled(limit)
        server, worker, resident = stage.server_cpu(), crew.cpu(), crew.resident()
        crew.stop()
        executed, span = crew.executed, crew.span
    if executed != jobs:
        raise Failed(f"{executed:,} handlers have started for {jobs:,} jobs.")
    return {
        "jobs/s": round((jobs - 1) / span),
        "worker µs/job": round(worker / jobs * 1e6, 1),
        "server µs/job": round((server - cpu) / jobs * 1e6, 1) if server is not None and cpu is not None else None,
        "worker MB": round(resident / 1e6, 1),
        **cost(jobs, before, stage.counters()),
        "filled/s": round(jobs / filled["seconds"]),
        "jobs": jobs,
    }


def statements(bench: Bench, system: System, options: dict[str, Any], jobs: int = 2_000) -> float | None:
    """Statements a job, counted in the server's log in a pass of its own, so that no measured run writes that log."""
    if bench.quick or system.kind != "postgresql" or bench.stages.postgres.log is None:
        return None
    shared = {name: value for name, value in options.items() if name != "processes"}
    with bench.stage(system) as stage:
        assert stage.db is not None
        assert stage.log is not None
        stage.fill(jobs, **shared)
        counting = Statements(stage.db, stage.db.info.dbname, stage.log)
        counting.start()
        with stage.workers(1, **shared) as crew:
            crew.wait_executed(jobs, 120)
            stage.wait_settled(60)
            crew.stop()
        return round(counting.stop() / jobs, 4)


SCENARIO = Scenario(
    "drain",
    "No-op jobs of 200 bytes, all enqueued before the workers start: from the first handler's start to the last's.",
    cases,
    run,
    (
        "jobs/s", "worker µs/job", "server µs/job", "worker MB", "WAL B/job", "statements/job", "pages/job", "dead rows",
    ),
    parameters={"processes": [1, 2, 4], "seconds": 4.0, "least": 1_000, "most": 200_000, "jobs": None, "limit": 300},
    quick={"processes": [1, 2], "jobs": 20_000, "limit": 60},
)  # fmt: skip
