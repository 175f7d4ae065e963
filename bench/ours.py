"""What is asked of pgjobs alone: its command line as people start it, its tables, and whether all came out right."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg

from bench.environments import ROOT, SHARED, Environment
from bench.running import Failed, Program
from bench.scenario import Figures
from bench.stage import Stage

APP = "bench.systems.pgjobs.tasks:app"


def supervisor(stage: Stage, *arguments: str, starts: str | None = None, keep: str = "history") -> Program:
    """Start `pgjobs worker`, as people do, on the tasks of the bench; to be used in a `with` block."""
    variables = {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(SHARED))),
        "PGJOBS_DSN": stage.url,
        "BENCH_EXECUTOR": "async",
        "BENCH_KEEP": keep,
        **({"BENCH_STARTS": starts} if starts else {}),
    }
    environment = Environment((sys.executable, "-m", "pgjobs"), variables)
    return Program(environment, ["worker", "--app", APP, "--log-level", "error", *arguments], stage.url)


def database(stage: Stage) -> psycopg.Connection[Any]:
    """The harness's connection, which a stage on PostgreSQL has."""
    assert stage.db is not None
    return stage.db


def count(db: psycopg.Connection[Any], rows: str) -> int:
    """Count the rows of a table, with a condition if there is one."""
    [(found,)] = db.execute(f"select count(*) from {rows}".encode()).fetchall()
    return int(found)


def outcome(db: psycopg.Connection[Any]) -> Figures:
    """What the tables say at the end."""
    [(completed, runs, most)] = db.execute(
        "select count(*), coalesce(sum(run), 0)::bigint, coalesce(max(run), 0) from pgjobs.job_history"
        " where status = 'completed'"
    ).fetchall()
    return {
        "completed": completed,
        "runs": runs,
        "most runs": most,
        "live": count(db, "pgjobs.jobs"),
        "dead": count(db, "pgjobs.dead_letters"),
        "violations": count(db, "pgjobs.violations"),
    }


def check(figures: Figures, jobs: int) -> Figures:
    """The figures, if every job has completed and nothing else is there."""
    names = ("completed", "live", "dead", "violations")
    if tuple(figures[name] for name in names) != (jobs, 0, 0, 0):
        raise Failed(f"Of {jobs:,} jobs: {figures}")
    return figures


def wait_until(true: Callable[[], bool], what: str, seconds: float = 300, every: float = 0.02) -> None:
    """Look until it is so, every so many seconds."""
    ends = time.monotonic() + seconds
    while not true():
        if time.monotonic() > ends:
            raise Failed(f"{what} took more than {seconds:.0f} s.")
        time.sleep(every)
