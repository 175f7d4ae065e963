"""Many jobs, workers in processes of their own, some of them killed: nothing is lost, nothing is done twice for nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def bench(scenario: str, dsn: str, *arguments: str, timeout: float = 120) -> dict[str, Any]:
    """Run a scenario of the bench, which checks its own outcome, and return its figures."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", scenario, "--dsn", dsn, *arguments],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def test_every_job_runs_exactly_once_through_two_workers(dsn: str) -> None:
    figures = bench("drain", dsn, "--jobs", "5000", "--set", "workers=2")
    assert figures["executed"] == figures["completed"] == figures["runs"] == 5000


def test_no_job_is_lost_when_workers_are_killed(dsn: str) -> None:
    figures = bench("kills", dsn, "--jobs", "5000", "--set", "kills=2", "--set", "lease=1")
    assert figures["completed"] == 5000


def test_no_job_is_lost_when_workers_of_a_supervisor_are_killed(dsn: str) -> None:
    assert bench("supervised", dsn, "--jobs", "8000", "--set", "kills=2")["completed"] == 8000


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
