"""How long until a job runs again whose worker was killed, with its supervisor there, and without."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

import psycopg

from bench import ours
from bench.scenario import Bench, Case, Figures, Scenario
from bench.systems import System

ENQUEUE = "select pgjobs.enqueue('sleep', '{}', queue => 'bench')"
RUNS_ON = "select w.pid from pgjobs.workers w join pgjobs.jobs j on j.worker = w.id where j.status = 'running'"
CLAIMED_AGAIN = "select extract(epoch from claimed_at)::float from pgjobs.jobs where run = 2"


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """Each victim."""
    if system.name != "pgjobs":
        return []
    return [Case(f"{victim} killed", {"victim": victim}) for victim in ("worker", "supervisor")]


def run(bench: Bench, system: System, case: Case) -> Figures:
    """From the kill to the claim, by the database's clock; another supervisor with one worker stands by."""
    with bench.stage(system) as stage:
        db = ours.database(stage)
        arguments = ["--queue", "bench", "--concurrency", "1", "--lease", "3600", "--grace", "0"]
        with ours.supervisor(stage, *arguments, "--processes", "2") as doomed:
            wait_for_workers(db, 2)
            db.execute(ENQUEUE)
            ours.wait_until(lambda: runs_on(db) is not None, "The start of the job", 60)
            with ours.supervisor(stage, *arguments):
                wait_for_workers(db, 3)
                pid = doomed.pid if case.options["victim"] == "supervisor" else runs_on(db)
                assert pid is not None
                [(killed_at,)] = db.execute("select extract(epoch from clock_timestamp())::float").fetchall()
                os.kill(pid, signal.SIGKILL)
                ours.wait_until(lambda: bool(db.execute(CLAIMED_AGAIN).fetchall()), "The rescue", 60)
                [(claimed_at,)] = db.execute(CLAIMED_AGAIN).fetchall()
    return {"rescue s": round(claimed_at - killed_at, 3)}


def wait_for_workers(db: psycopg.Connection[Any], workers: int) -> None:
    """Wait until so many workers are there, and renewed for."""
    rows = "pgjobs.workers where supervisor is not null"
    ours.wait_until(lambda: ours.count(db, rows) == workers, "The start of the workers", 60)


def runs_on(db: psycopg.Connection[Any]) -> int | None:
    """The process that runs the one job, or None."""
    rows = db.execute(RUNS_ON).fetchall()
    return rows[0][0] if rows else None


SCENARIO = Scenario(
    "deaths",
    "From the SIGKILL of a worker, or of its supervisor, to the claim that takes its job back; run many rounds.",
    cases,
    run,
    ("rescue s",),
    comparing=False,
    parameters={},
)
