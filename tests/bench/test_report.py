"""The report of a result: targets as ratios, a table a scenario, what failed, and its place in the README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.readme import BEGIN, END, into_readme
from bench.report import number, report, table
from bench.results import Result, Run
from bench.targets import judge

MACHINE: dict[str, Any] = {
    "commit": "0123456789abcdef", "dirty": True, "date": "2026-01-02T03:04:05+00:00", "cpu": "a processor", "cores": 2,
    "memory MB": 8000, "kernel": "Linux 6", "python": "3.11.7", "psycopg": "3.3", "uvloop": None,
}  # fmt: skip


def made(*runs: Run) -> Result:
    """A result of these runs."""
    scenarios = {run.scenario: {"about": f"About {run.scenario}.", "parameters": {}} for run in runs}
    told = {"settings": "as documented", "promises": "at least once", "requirements": ["peer==1"], "kind": "postgresql"}
    return Result(
        MACHINE, {"version": "180006", "fsync": "on"}, {run.system: told for run in runs}, scenarios, list(runs)
    )


def drained(system: str, case: str, *rates: float) -> list[Run]:
    """Runs of a drain."""
    return [Run("drain", case, system, i, {"jobs/s": rate, "worker MB": 50.04}) for i, rate in enumerate(rates)]


def test_a_target_is_judged_by_the_ratio_of_medians() -> None:
    case = "1 process, nothing kept"
    rows = {
        row.what: row
        for row in judge(
            made(*drained("pgjobs", case, 50, 60, 10), *drained("graphile-worker", case, 40, 20, 90)).medians()
        )
    }
    row = rows["drain, 1 process: against graphile-worker"]
    assert (row.bound, row.value, row.holds) == ("≥ 1.25", 1.25, True)
    assert row.figures == "pgjobs: 50 jobs/s; graphile-worker: 40 jobs/s"
    unknown = rows["drain, 1 process: against the bare loop"]
    assert (unknown.value, unknown.holds) == (None, None)
    assert "start to first job, s" not in rows  # nothing of it was measured


def test_latency_is_held_against_the_best_peer_and_readers_against_the_quiet_run() -> None:
    medians = made(
        Run("latency", "20/s", "pgjobs", 0, {"p50 ms": 2.0}),
        Run("latency", "20/s", "oban", 0, {"p50 ms": 4.0}),
        Run("latency", "20/s", "graphile-worker", 0, {"p50 ms": -1.0}),
        Run("readers", "readers", "pgjobs", 0, {"p99 ms": 9.0}),
        Run("readers", "no readers", "pgjobs", 0, {"p99 ms": 5.0}),
    ).medians()
    rows = {row.what: row for row in judge(medians)}
    assert rows["latency at 20/s, p50 ms: more than the best peer's"].value == 3.0
    assert rows["latency at 20/s, p50 ms: more than the best peer's"].holds is False
    assert rows["readers: p99 ms more than quiet"].value == 4.0
    assert rows["readers: p99 ms more than quiet"].holds is True


def test_the_report_says_what_was_measured_where_and_what_failed() -> None:
    case = "1 process, nothing kept"
    text = report(
        made(
            *drained("pgjobs", case, 1000, 3000, 2000),
            Run("drain", case, "rq", 0, failed="work ended\nwith status 1."),
            Run("drain", case, "oban", 0, {"jobs/s": 7}),
            Run("drain", case, "oban", 1, failed="once"),
        ),
        ["drain.png", "held.png"],
    )
    assert "Commit `0123456789ab` with changes that are not committed" in text
    assert "PostgreSQL 18.6: `fsync = on`." in text
    assert f"| {case} | pgjobs | 2,000 (1,000 to 3,000) | 50.0 |" in text
    assert f"- {case}, rq: work ended with status 1." in text
    assert "oban: once" not in text  # it came to something in another round
    assert "![drain.png](drain.png)" in text
    assert "held.png" not in text
    assert "| oban | peer==1 | as documented | at least once |" in text


def test_numbers_have_as_many_digits_as_say_something() -> None:
    assert [number(value) for value in (123456.7, 99.96, 7, 7.256, 0.0045)] == [
        "123,457",
        "100.0",
        "7",
        "7.26",
        "0.0045",
    ]
    assert table(["a"], [["b|c\nd"]]) == "| a |\n| --- |\n| b\\|c d |"


def test_a_report_takes_the_place_of_the_one_before_it_in_the_readme(tmp_path: Path) -> None:
    readme, out = tmp_path / "README.md", tmp_path / "out"
    out.mkdir()
    (out / "report.md").write_text("# What was measured\n\n## drain\n\n![drain.png](drain.png)\n")
    (out / "drain.png").write_bytes(b"a plot")
    (out / "result.json").write_text("{}")
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    into_readme(out, readme)
    assert readme.read_text() == f"before\n{BEGIN}\n\n### drain\n\n![drain.png](results/drain.png)\n\n{END}\nafter\n"
    assert (tmp_path / "results" / "drain.png").read_bytes() == b"a plot"
    readme.write_text("no place")
    with pytest.raises(ValueError, match="no place"):
        into_readme(out, readme)
