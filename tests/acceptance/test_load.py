"""Many jobs, workers in processes of their own, some of them killed: nothing is lost, nothing is done twice for nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def bench(scenario: str, dsn: str, out: Path, *arguments: str, timeout: float = 120) -> dict[str, Any]:
    """Run a scenario of the bench once, which checks its own outcome, and return its figures."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", scenario, "--dsn", dsn, "--out", str(out), "--runs", "1", *arguments],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [run] = json.loads((out / "result.json").read_text())["runs"]
    figures: dict[str, Any] = run["figures"]
    return figures


@pytest.fixture
def server() -> str:
    """The server of the tests, on which the bench makes databases of its own."""
    return os.environ["PGJOBS_TEST_DSN"]


def test_every_job_runs_exactly_once_through_two_workers(server: str, tmp_path: Path) -> None:
    settings = ("jobs=5000", "processes=2", "kills=0")
    figures = bench("supervised", server, tmp_path, *(word for each in settings for word in ("--set", each)))
    assert figures["completed"] == figures["runs"] == 5000
    assert figures["most runs"] == 1


def test_no_job_is_lost_when_workers_are_killed(server: str, tmp_path: Path) -> None:
    figures = bench("kills", server, tmp_path, "--set", "jobs=5000", "--set", "kills=2", "--set", "lease=1")
    assert figures["completed"] == 5000
    assert figures["kills"] == 2


def test_no_job_is_lost_when_workers_of_a_supervisor_are_killed(server: str, tmp_path: Path) -> None:
    figures = bench("supervised", server, tmp_path, "--set", "jobs=8000", "--set", "kills=2")
    assert figures["completed"] == 8000
    assert figures["kills"] == 2
@pytest.mark.long
def test_none_of_a_hundred_thousand_jobs_is_lost_when_workers_of_a_supervisor_are_killed(dsn: str) -> None:
    figures = bench("supervised", dsn, timeout=700)
    assert (figures["completed"], figures["kills"]) == (100_000, 8)


@pytest.mark.long
def test_a_job_whose_worker_is_killed_runs_elsewhere_within_a_second_and_without_its_supervisor_within_about_three(
    dsn: str,
) -> None:
    figures = bench("deaths", dsn, timeout=400)
    assert figures["s worker killed"]["max"] < 1
    assert figures["s supervisor killed"]["median"] < 3.2


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_hundred_thousand_jobs_run_exactly_once(dsn: str, workers: int) -> None:
    figures = bench("drain", dsn, "--set", f"workers={workers}", timeout=600)
    assert figures["executed"] == figures["completed"] == figures["runs"] == 100_000


@pytest.mark.long
def test_none_of_a_hundred_thousand_jobs_is_lost_under_kills(dsn: str) -> None:
    assert bench("kills", dsn, timeout=600)["completed"] == 100_000


@pytest.mark.long
def test_a_held_snapshot_does_not_slow_the_drain(dsn: str) -> None:
    figures = bench("held", dsn, timeout=900)
    assert figures["s commit to claim"]["max"] < 1
