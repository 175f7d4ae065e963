"""What a scenario is, and what one is given when it runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from bench.counters import Counters
from bench.stage import Stage, Stages
from bench.systems import System

Figures = dict[str, Any]  # numbers by name; a name ends in its unit. Lists and texts are told, not compared.


@dataclass(frozen=True)
class Case:
    """One thing that is measured of several systems: they share its label."""

    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    place: int = 0  # cases that are held against each other, and so are to be measured near each other, share it


@dataclass
class Bench:
    """What runs share: the stages, the scenario's parameters, and how fast each system turned out to be."""

    stages: Stages
    systems: Mapping[str, System]
    quick: bool = False
    all_depths: bool = False
    parameters: dict[str, Any] = field(default_factory=dict)  # of the scenario that runs
    rates: dict[tuple[str, ...], float] = field(default_factory=dict)
    statements: dict[tuple[str, ...], float] = field(default_factory=dict)
    say: Callable[[str], None] = print

    def stage(self, system: System) -> AbstractContextManager[Stage]:
        """Give the system a fresh database."""
        return self.stages.stage(system)

    def count_for(self, key: tuple[str, ...], seconds: float, pilot: Callable[[], float], least: int, most: int) -> int:
        """How many jobs take about so long; how fast they go is found out once, by a pilot run."""
        if key not in self.rates:
            self.rates[key] = pilot()
        return max(least, min(most, round(self.rates[key] * seconds / 100) * 100))


@dataclass(frozen=True)
class Scenario:
    """A scenario: its cases for a system, and how one of them is run."""

    name: str
    about: str  # one sentence, for the report
    cases: Callable[[System, Bench], Sequence[Case]]
    run: Callable[[Bench, System, Case], Figures]
    columns: Sequence[str]  # the figures that its table shows, in order
    comparing: bool = True  # whether it is about several systems, and so part of a run of everything
    parameters: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] | None = None  # other parameters for the short form; None: it is not part of that


def percentiles(waits: Sequence[float], unit: str = "ms", digits: int = 3) -> Figures:
    """Median, 95th, 99th and worst."""
    if not waits:
        return {}
    cuts = statistics.quantiles(waits, n=100, method="inclusive") if len(waits) > 1 else [waits[0]] * 99
    chosen = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(waits)}
    return {f"{name} {unit}": round(value, digits) for name, value in chosen.items()}


def cost(jobs: int, before: Counters | None, after: Counters | None) -> Figures:
    """What the database counted, for each job."""
    if before is None or after is None:
        return {}
    return {
        "WAL B/job": round((after.wal - before.wal) / jobs),
        "pages/job": round((after.pages - before.pages) / jobs, 2),
        "dead rows": after.dead,
    }


def median(values: Sequence[float]) -> float:
    """The median of what may be nothing."""
    return statistics.median(values) if values else float("nan")
