"""Two workers side by side, one killed now and then and replaced: every job completes, none is lost."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from bench import ours
from bench.scenario import Bench, Case, Figures, Scenario
from bench.systems import System


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """One, of pgjobs."""
    return [Case("workers killed")] if system.name == "pgjobs" else []


def run(bench: Bench, system: System, case: Case) -> Figures:
    """Kill at equal shares of the work; the lease is short, since nobody looks after these workers."""
    jobs, kills = int(bench.parameters["jobs"]), int(bench.parameters["kills"])
    with bench.stage(system) as stage, ExitStack() as stack:
        db = ours.database(stage)
        stage.fill(jobs)
        options = {"concurrency": 100, "lease": bench.parameters["lease"], "keep": True}
        programs = [stack.enter_context(stage.start("work", **options)) for _ in range(2)]
        killed = 0

        def is_done() -> bool:
            nonlocal killed
            done = ours.count(db, "pgjobs.job_history")
            if killed < kills and done >= jobs * (killed + 1) / (kills + 2):
                programs[killed % 2].kill()
                programs[killed % 2] = stack.enter_context(stage.start("work", **options))
                killed += 1
            return done >= jobs

        ours.wait_until(is_done, f"{jobs:,} jobs")
        return {"kills": killed, **ours.check(ours.outcome(db), jobs), "jobs": jobs}


SCENARIO = Scenario(
    "kills",
    "Two workers, one killed (SIGKILL) now and then and replaced: every job completes, none is lost.",
    cases,
    run,
    ("completed", "runs", "kills", "violations"),
    comparing=False,
    parameters={"jobs": 100_000, "kills": 6, "lease": 2.0},
)
