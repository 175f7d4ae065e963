"""Two results compared: what counts as a loss."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.compare import compare, is_higher_better, told
from bench.results import Result, Run


def result(**figures: list[float]) -> Result:
    """A result of one case, a run for each value."""
    count = len(next(iter(figures.values())))
    runs = [
        Run("drain", "1 process", "pgjobs", i, {name.replace("_", "/"): values[i] for name, values in figures.items()})
        for i in range(count)
    ]
    return Result({}, {}, {}, {}, runs)


def test_a_rate_that_falls_by_more_than_a_tenth_is_a_loss() -> None:
    [change] = compare(result(jobs_s=[1000, 1000, 1000]), result(jobs_s=[880, 880, 880]))
    assert change.is_loss
    assert change.ratio == pytest.approx(0.88)
    [change] = compare(result(jobs_s=[1000, 1000, 1000]), result(jobs_s=[910, 910, 910]))
    assert not change.is_loss
    [change] = compare(result(jobs_s=[1000, 1000, 1000]), result(jobs_s=[2000, 2000, 2000]))
    assert not change.is_loss


def test_a_cost_that_rises_is_a_loss_and_one_that_falls_is_not() -> None:
    then = Result({}, {}, {}, {}, [Run("drain", "1 process", "pgjobs", 0, {"worker µs/job": 10.0})])
    dearer = Result({}, {}, {}, {}, [Run("drain", "1 process", "pgjobs", 0, {"worker µs/job": 11.5})])
    assert [change.is_loss for change in compare(then, dearer)] == [True]
    assert [change.is_loss for change in compare(dearer, then)] == [False]


def test_what_varies_widely_by_itself_is_no_loss() -> None:
    then = result(jobs_s=[700, 1000, 1200])  # a spread of half the median
    assert not compare(then, result(jobs_s=[600, 600, 600]))[0].is_loss
    assert compare(then, result(jobs_s=[400, 400, 400]))[0].is_loss


def test_only_what_both_have_and_what_has_a_better_side_is_compared() -> None:
    then = Result({}, {}, {}, {}, [Run("drain", "1 process", "pgjobs", 0, {"jobs/s": 10.0, "jobs": 100})])
    now = Result({}, {}, {}, {}, [Run("drain", "1 process", "pgjobs", 0, {"jobs/s": 10.0, "jobs": 50, "p50 ms": 1.0})])
    assert [change.key[3] for change in compare(then, now)] == ["jobs/s"]


@pytest.mark.parametrize(
    ("name", "better"),
    [("jobs/s", True), ("share of ideal", True), ("last by first share", True), ("p99 ms", False), ("worker MB", False),
     ("WAL B/job", False), ("worst wait s", False), ("filled/s", None), ("jobs", None), ("rounds jobs/s", None)],
)  # fmt: skip
def test_each_figure_has_its_better_side(name: str, better: bool | None) -> None:
    assert is_higher_better(name) is better


def test_a_loss_is_marked_and_the_worst_comes_first() -> None:
    then = Result(
        {},
        {},
        {},
        {},
        [Run("drain", "a", "pgjobs", 0, {"jobs/s": 10.0}), Run("drain", "b", "pgjobs", 0, {"jobs/s": 10.0})],
    )
    now = Result(
        {},
        {},
        {},
        {},
        [Run("drain", "a", "pgjobs", 0, {"jobs/s": 11.0}), Run("drain", "b", "pgjobs", 0, {"jobs/s": 5.0})],
    )
    lines = told(compare(then, now)).splitlines()
    assert lines[0].startswith("LOSS   0.500  drain / b / pgjobs")
    assert not lines[1].startswith("LOSS")
    assert lines[2] == "2 figures compared, 1 of them a loss."


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = result(jobs_s=[1.0, 3.0, 2.0])
    read = Result.read(written.write(tmp_path))
    assert read == written
    assert Result.read(tmp_path).figure("drain", "1 process", "pgjobs", "jobs/s") == 2.0
    (tmp_path / "result.json").write_text('{"version": 0}')
    with pytest.raises(ValueError, match="format 0"):
        Result.read(tmp_path)
