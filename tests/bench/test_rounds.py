"""Rounds: the order rotates, a failure is noted and the rest goes on, and how many jobs a run takes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.results import Run
from bench.rounds import choose_parameters, measure, rotated
from bench.running import Failed
from bench.scenario import Bench, Case, Figures, Scenario, percentiles
from bench.server import Postgres
from bench.stage import Stages, flags
from bench.systems import System, systems


def bench(*names: str) -> Bench:
    """A bench of these systems, on no server."""
    known = systems()
    return Bench(Stages(Postgres("", None, None), Path(), ExitStack()), {name: known[name] for name in names})


def scenario(ran: list[str], broken: str = "") -> Scenario:
    """A scenario of two cases that only notes what is run."""

    def cases(system: System, bench: Bench) -> Sequence[Case]:
        return [Case("first"), Case("second")] if system.name != "rq" else [Case("second")]

    def run(bench: Bench, system: System, case: Case) -> Figures:
        if system.name == broken:
            raise Failed("as asked for")
        ran.append(f"{case.label} {system.name}")
        return {"x/s": bench.parameters["x"]}

    return Scenario("noted", "", cases, run, ("x/s",), parameters={"x": 1}, quick={"x": 2})


def test_every_system_runs_once_a_round_and_case_in_an_order_that_rotates() -> None:
    ran: list[str] = []
    context = bench("pgjobs", "bare", "rq")
    choose_parameters(scenario([]), context, {})
    measure(scenario(ran), context, 2, lambda run: None)
    assert ran == [
        "first pgjobs", "first bare", "second pgjobs", "second bare", "second rq",
        "first bare", "first pgjobs", "second bare", "second rq", "second pgjobs",
    ]  # fmt: skip
    assert rotated([], 3) == []


def test_cases_that_are_held_against_each_other_are_measured_near_each_other() -> None:
    def cases(system: System, bench: Bench) -> Sequence[Case]:
        return [Case(f"{system.name} {place}", place=place) for place in (1, 2)]

    noted: list[Run] = []
    apart = Scenario("apart", "", cases, lambda bench, system, case: {}, ())
    measure(apart, bench("pgjobs", "bare"), 1, noted.append)
    assert [run.case for run in noted] == ["pgjobs 1", "bare 1", "pgjobs 2", "bare 2"]


def test_a_system_that_fails_is_noted_and_the_others_go_on() -> None:
    ran, noted = list[str](), list[Run]()
    context = bench("pgjobs", "bare")
    choose_parameters(scenario([]), context, {})
    measure(scenario(ran, broken="pgjobs"), context, 1, noted.append, only="first")
    assert [(run.system, run.failed, run.figures) for run in noted] == [
        ("pgjobs", "as asked for", {}),
        ("bare", None, {"x/s": 1}),
    ]


def test_parameters_are_the_scenario_s_own_those_of_the_short_form_and_what_is_given() -> None:
    used = [choose_parameters(scenario([]), bench("bare"), given)["x"] for given in ({}, {"x": 5}, {"y": 6})]
    assert used == [1, 5, 1]
    short = bench("bare")
    short.quick = True
    assert choose_parameters(scenario([]), short, {}) == {"x": 2}


def test_how_many_jobs_a_run_takes_is_found_out_once() -> None:
    asked = []

    def pilot() -> float:
        asked.append(1)
        return 1234.0

    context = bench("bare")
    assert context.count_for(("a",), 2.0, pilot, 100, 100_000) == 2500
    assert context.count_for(("a",), 20.0, pilot, 100, 5_000) == 5_000
    assert context.count_for(("a",), 0.01, pilot, 100, 5_000) == 100
    assert len(asked) == 1


def test_options_become_flags_as_programs_take_them() -> None:
    assert flags({"count": 3, "keep": True, "queues": None, "mix": False, "how": "copy"}) == [
        "--count", "3", "--keep", "--how", "copy",
    ]  # fmt: skip


def test_percentiles_of_one_value_and_of_many() -> None:
    assert percentiles([3.0]) == {"p50 ms": 3.0, "p95 ms": 3.0, "p99 ms": 3.0, "max ms": 3.0}
    assert percentiles([float(i) for i in range(101)]) == {
        "p50 ms": 50.0,
        "p95 ms": 95.0,
        "p99 ms": 99.0,
        "max ms": 100.0,
    }
    assert percentiles([]) == {}


def test_each_system_has_a_program_and_says_what_it_promises() -> None:
    for system in systems().values():
        assert system.program.exists(), system.name
        assert system.settings.endswith("."), system.name
        assert system.promises.endswith("."), system.name
        assert system.keeps, system.name
        assert all("==" in requirement for requirement in system.requirements), system.name


@pytest.mark.parametrize("name", ["pgjobs", "bare"])
def test_ours_come_first(name: str) -> None:
    assert name in list(systems())[:2]
