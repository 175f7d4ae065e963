"""How long after its process was started `pgjobs worker` has started the first job, in a database that has been used."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from functools import partial

import common
from bench import ours
from bench.scenario import Bench, Case, Figures, Scenario, median
from bench.systems import System


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """One, of pgjobs."""
    return [Case("pgjobs worker")] if system.name == "pgjobs" else []


def run(bench: Bench, system: System, case: Case) -> Figures:
    """One job waits; so many times."""
    took = []
    with bench.stage(system) as stage:
        stage.fill(1_000)
        with stage.workers(1) as crew:  # the database is warm, and so are the files of Python's modules
            crew.wait_executed(1_000, 60)
            crew.stop()
        for _ in range(bench.parameters["times"]):
            stage.fill(1)
            starts = common.SharedStarts()
            try:
                began = time.monotonic()
                with ours.supervisor(stage, "--queue", common.QUEUE, starts=starts.path, keep="nothing") as program:
                    ours.wait_until(partial(has_started, starts), "The first job", 30)
                    program.signal(signal.SIGTERM)
                    program.finish(60)
                first = starts.seen().first
                assert first is not None
                took.append(first - began)
            finally:
                starts.close()
    return {
        "median s": round(median(took), 3),
        "max s": round(max(took), 3),
        "all s": [round(each, 3) for each in took],
    }


def has_started(starts: common.SharedStarts) -> bool:
    """Whether the one job has."""
    return starts.seen().executed == 1


SCENARIO = Scenario(
    "start",
    "From the start of the process `pgjobs worker` (supervisor and one worker) to the start of the first job's handler.",
    cases,
    run,
    ("median s", "max s"),
    comparing=False,
    parameters={"times": 10},
)
