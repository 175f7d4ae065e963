"""Runs scenarios round by round: every system once a round and case, in an order that rotates (A B, B A, ...)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.environments import EnvironmentFailed
from bench.results import Run
from bench.running import Failed
from bench.scenario import Bench, Case, Scenario
from bench.systems import System


def rotated(systems: Sequence[System], turn: int) -> list[System]:
    """The order of one round."""
    by = turn % len(systems) if systems else 0
    return [*systems[by:], *systems[:by]]


def by_label(scenario: Scenario, bench: Bench) -> dict[str, list[tuple[System, Case]]]:
    """The cases, each with the systems that have it."""
    found: dict[str, list[tuple[System, Case]]] = {}
    for system in bench.systems.values():
        for case in scenario.cases(system, bench):
            found.setdefault(case.label, []).append((system, case))
    return dict(sorted(found.items(), key=lambda each: each[1][0][1].place))


def choose_parameters(scenario: Scenario, bench: Bench, given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a scenario: its own, those of the short form, what was given; the bench has them from now on."""
    short = scenario.quick if bench.quick and scenario.quick is not None else {}
    bench.parameters = {**scenario.parameters, **short, **{n: v for n, v in given.items() if n in scenario.parameters}}
    return bench.parameters


def measure(scenario: Scenario, bench: Bench, runs: int, note: Callable[[Run], None], only: str | None = None) -> None:
    """Run the cases of a scenario (only: those with this in their label), and note each run."""
    every = by_label(scenario, bench)
    for number in range(runs):
        for label, systems in every.items():
            if only is not None and only not in label:
                continue
            cases = {system.name: case for system, case in systems}
            for system in rotated([system for system, _ in systems], number):
                note(once(scenario, bench, system, cases[system.name], number, label))


def once(scenario: Scenario, bench: Bench, system: System, case: Case, number: int, label: str) -> Run:
    """One run; a system that fails has failed, and the bench goes on."""
    began = time.monotonic()
    figures, failed = {}, None
    try:
        figures = scenario.run(bench, system, case)
    except (Failed, EnvironmentFailed) as error:
        failed = str(error)
    except Exception as error:
        failed = f"{type(error).__name__}: {error}"
    return Run(scenario.name, label, system.name, number, figures, failed, round(time.monotonic() - began, 1))
