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


# As large as the figures that are told of it.


@pytest.mark.long
def test_none_of_a_hundred_thousand_jobs_is_lost_when_workers_of_a_supervisor_are_killed(
    server: str, tmp_path: Path
) -> None:
    figures = bench("supervised", server, tmp_path, timeout=700)
    assert (figures["completed"], figures["kills"]) == (100_000, 8)


@pytest.mark.long
@pytest.mark.parametrize(("victim", "seconds"), [("worker", 1), ("supervisor", 3.2)])
def test_a_job_whose_worker_is_killed_runs_elsewhere_within_a_second_and_without_its_supervisor_within_about_three(
    server: str, tmp_path: Path, victim: str, seconds: float
) -> None:
    figures = bench("deaths", server, tmp_path, "--case", f"{victim} killed", timeout=400)
    assert figures["rescue s"] < seconds


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_a_hundred_thousand_jobs_run_exactly_once(server: str, tmp_path: Path, processes: int) -> None:
    figures = bench("supervised", server, tmp_path, "--set", f"processes={processes}", "--set", "kills=0", timeout=600)
    assert figures["completed"] == figures["runs"] == 100_000


@pytest.mark.long
def test_none_of_a_hundred_thousand_jobs_is_lost_under_kills(server: str, tmp_path: Path) -> None:
    assert bench("kills", server, tmp_path, timeout=600)["completed"] == 100_000


@pytest.mark.long
def test_no_job_waits_long_under_a_held_snapshot_late_commits_and_kills(server: str, tmp_path: Path) -> None:
    arguments = ("--case", "snapshot held", "--set", "jobs=100000", "--set", "rounds=4")
    figures = bench("mixture", server, tmp_path, *arguments, timeout=900)
    assert figures["worst wait s"] < 3
