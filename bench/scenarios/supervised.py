"""One supervisor and its workers on two queues, one killed now and then: every job completes, none is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress

from bench import ours
from bench.scenario import Bench, Case, Figures, Scenario
from bench.systems import System


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """One, of pgjobs."""
    return [Case("supervised workers killed")] if system.name == "pgjobs" else []


def run(bench: Bench, system: System, case: Case) -> Figures:
    """Kill at equal shares of the work. The lease is an hour: what is found is found because the supervisor saw it."""
    jobs, kills = int(bench.parameters["jobs"]), int(bench.parameters["kills"])
    with bench.stage(system) as stage:
        db = ours.database(stage)
        stage.fill(jobs, queues=2)
        began, killed = time.monotonic(), 0

        def is_done() -> bool:
            nonlocal killed
            done = ours.count(db, "pgjobs.job_history") + ours.count(db, "pgjobs.dead_letters")
            if killed < kills and done >= jobs * (killed + 1) / (kills + 2):
                pids = [pid for (pid,) in db.execute("select pid from pgjobs.workers where supervisor is not null")]
                if pids:
                    with suppress(ProcessLookupError):
                        os.kill(random.choice(pids), signal.SIGKILL)
                        killed += 1
            return done >= jobs

        arguments = [
            "--queue",
            "bench-0",
            "--queue",
            "bench-1",
            "--lease",
            "3600",
            "--grace",
            "5",
            "--concurrency",
            "100",
        ]
        with ours.supervisor(stage, *arguments, "--processes", str(bench.parameters["processes"])) as program:
            ours.wait_until(is_done, f"{jobs:,} jobs", 600)
            took = time.monotonic() - began
            program.signal(signal.SIGTERM)
            program.finish(60)
        return {
            "kills": killed,
            "jobs/s with start": round(jobs / took),
            **ours.check(ours.outcome(db), jobs),
            "jobs": jobs,
        }


SCENARIO = Scenario(
    "supervised",
    "One supervisor with four workers on two queues, one killed (SIGKILL) now and then: every job completes, none is lost.",
    cases,
    run,
    ("completed", "runs", "kills", "jobs/s with start", "violations"),
    comparing=False,
    parameters={"jobs": 100_000, "processes": 4, "kills": 8},
)
