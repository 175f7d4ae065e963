"""A real, tiny bench: pgjobs and the bare database drain a few hundred jobs, as a program with its results."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import common
from bench import machine, meters
from bench.environments import ROOT, Environment
from bench.results import Result, Run
from bench.running import Failed, Program, crew
from bench.scenarios import durations, latency

WORKER = """
import json, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print(json.dumps({"ready": True}), flush=True)
for n in (1, 5):
    print(json.dumps({"executed": n, "first": 1.0, "last": float(n)}), flush=True)
signal.sigwait({signal.SIGTERM})
print(json.dumps({"executed": 6, "first": 1.0, "last": 6.0, "cpu": 0, "rss": 0}), flush=True)
"""

SPIN = "import time\nends = time.process_time() + 0.15\nwhile time.process_time() < ends: pass"
PARENT = f"""
import json, signal, subprocess, sys
subprocess.run([sys.executable, "-c", {SPIN!r}], check=True)
print(json.dumps({{"ready": True}}), flush=True)
signal.pause()
"""


def python(text: str) -> Environment:
    """An environment whose program is this text; its arguments are ignored."""
    return Environment((sys.executable, "-c", text))


def test_a_tiny_drain_of_pgjobs_and_the_bare_database(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "bench", "drain", "--system", "pgjobs", "--system", "bare", "--case", "1 process, nothing kept",
        "--dsn", os.environ["PGJOBS_TEST_DSN"], "--runs", "1", "--set", "jobs=300", "--out", str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert [(run["system"], run["failed"]) for run in result["runs"]] == [("pgjobs", None), ("bare", None)]
    for run in result["runs"]:
        figures = run["figures"]
        assert figures["jobs"] == 300
        assert figures["jobs/s"] > 0
        assert figures["WAL B/job"] > 100
        assert figures["pages/job"] > 1
        assert figures["worker MB"] > 5
    assert result["medians"]["drain"]["1 process, nothing kept"]["bare"]["jobs"]["median"] == 300
    assert result["machine"]["commit"]
    assert result["server"]["max_connections"]
    assert "drain, 1 process: against the bare loop" in (tmp_path / "report.md").read_text()
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["system"] for line in printed] == ["pgjobs", "bare"]


def test_saved_results_are_reported_and_compared_and_a_loss_is_the_exit_status(tmp_path: Path) -> None:
    case = "1 process, nothing kept"
    for folder, rate in (("old", 1000), ("same", 950), ("worse", 500)):
        (tmp_path / folder).mkdir()
        runs = [Run("drain", case, "pgjobs", i, {"jobs/s": rate}) for i in range(3)]
        scenarios = {"drain": {"about": "Drains.", "parameters": {}}}
        Result(machine.describe(), {"version": "180006"}, {}, scenarios, runs).write(tmp_path / folder)
    saved = ["--compare", str(tmp_path / "old" / "result.json")]
    for folder, status in (("same", 0), ("worse", 1)):
        command = [sys.executable, "-m", "bench", "--report", str(tmp_path / folder), *saved]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stderr
        assert f"{status} of them a loss" in done.stdout
        assert case in (tmp_path / folder / "report.md").read_text()


def test_a_crew_adds_up_what_its_programs_say_and_ends_with_the_block() -> None:
    with crew(python(WORKER), [["work"], ["work"]], "postgresql://nowhere") as working:
        working.wait_ready(20)
        working.wait_executed(10, 20)
        assert working.span == 4.0
        assert working.resident() > 1_000_000
        assert [word["executed"] for word in working.stop(20)] == [6, 6]
        assert working.executed == 12
    with crew(python(WORKER), [["work"]], "") as working:
        working.wait_ready(20)
        pid = working.programs[0].pid
    assert meters.session(pid) == []


def test_a_program_that_ends_early_or_takes_too_long_has_failed_with_its_last_words() -> None:
    with (
        crew(python("import sys; sys.exit('the reason')"), [["work"]], "") as working,
        pytest.raises(Failed, match=r"(?s)work ended with status 1\..*the reason"),
    ):
        working.wait_ready(20)
    with crew(python(WORKER), [["work"]], "") as working, pytest.raises(Failed, match=r"11 jobs took more than 0 s"):
        working.wait_executed(11, 0.2)
    with (
        Program(python("import signal; signal.pause()"), ["bulk"], "") as program,
        pytest.raises(Failed, match="more than"),
    ):
        program.finish(0.2)


def test_cpu_of_a_program_is_counted_with_its_ended_children() -> None:
    with crew(python(PARENT), [["work"]], "") as working:
        working.wait_ready(20)
        assert meters.cpu_of_session(working.programs[0].pid) >= 0.12


def test_clients_keep_to_their_rate_and_say_when_each_job_was_committed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = argparse.Namespace(count=20, rate=100.0, clients=1, stamps=tmp_path / "stamps")
    sent: list[float] = []
    begin = time.monotonic()

    def send(n: int) -> None:
        sent.append(time.monotonic())

    common.enqueue_blocking(options, send)
    assert all(at >= begin + n / 100 for n, at in enumerate(sent))
    said = json.loads(capfd.readouterr().out)
    assert said["count"] == 20
    assert said["seconds"] >= 0.19
    assert list(latency.stamps(options.stamps)) == list(range(20))
    committed, called = latency.stamps(options.stamps), latency.stamps(options.stamps, 2)
    assert all(called[n] <= moment <= committed[n] for n, moment in enumerate(sent))


def test_payloads_have_the_length_that_is_asked_for_and_a_mixture_its_shares() -> None:
    for options in (argparse.Namespace(text=200, ms=None, mix=False), argparse.Namespace(text=90, ms=1.5, mix=False)):
        for n in (0, 9, 10, 123_456):
            made = common.payload(n, options)
            assert len(json.dumps(made, separators=(",", ":"))) == options.text
            assert (made["n"], made.get("ms")) == (n, options.ms)
    mixture = [common.payload(n, argparse.Namespace(text=200, ms=None, mix=True))["ms"] for n in range(1000)]
    assert (sum(ms <= 5 for ms in mixture), mixture.count(50), mixture.count(500)) == (900, 90, 10)
    assert sum(mixture) / 1000 == durations.MEAN
