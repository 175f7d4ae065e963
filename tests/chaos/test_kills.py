"""Supervisors and workers killed at random while jobs run: all complete, none is lost, whoever dies.

Leases are of an hour: whatever is found is found by its end, seen by a supervisor or by the lock it let go of.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import pgjobs
from tests.conftest import Connection
from tests.sql.by_hand import one, until
from tests.worker.supervised import app as their_app

WITHIN = 90


@contextmanager
def supervisors(dsn: str, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many supervisors with two workers each."""
    with ExitStack() as stack:
        started = [start(dsn) for _ in range(count)]
        yield started
        for process in started:
            process.terminate()
        for process in started:
            stack.callback(process.kill)
            process.wait(30)


def start(dsn: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pgjobs", "worker", "--app", "tests.worker.supervised:app", "--processes", "2",
         "--concurrency", "4", "--lease", "1h", "--grace", "1", "--log-level", "error"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PGJOBS_DSN": dsn},
    )  # fmt: skip


@pytest.mark.parametrize("seed", [pytest.param(1), *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 7))])
def test_every_job_completes_whoever_is_killed(app: pgjobs.App, db: Connection, dsn: str, seed: int) -> None:
    rng = random.Random(seed)
    ids = app.enqueue_many(their_app["nap"].spec(rng.uniform(0, 0.05)) for _ in range(1_500))
    with supervisors(dsn, 2) as programs:
        for kill in range(4):
            until(db, "count(*) >= %s from pgjobs.job_history", len(ids) * (kill + 1) / 6, seconds=WITHIN)
            workers = [pid for (pid,) in db.execute("select pid from pgjobs.workers where supervisor is not null")]
            if workers and kill % 2 == 0:
                os.kill(rng.choice(workers), signal.SIGKILL)
            else:
                victim = rng.randrange(len(programs))
                programs[victim].kill()
                programs[victim].wait()
                programs[victim] = start(dsn)
        until(db, "not exists (select from pgjobs.jobs)", seconds=WITHIN)
    assert one(db, "select count(*) from pgjobs.job_history where status = 'completed'") == len(ids)
    assert one(db, "select count(*) from pgjobs.dead_letters") == 0
    assert one(db, "select count(*) from pgjobs.job_history where crashes > 0") > 0
