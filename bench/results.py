"""The result of a bench: every single run, the medians, and on what they were measured. It is one JSON file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VERSION = 1  # of the format


@dataclass(frozen=True)
class Run:
    """One run of a case: its figures, or why there are none."""

    scenario: str
    case: str
    system: str
    round: int
    figures: dict[str, Any] = field(default_factory=dict)
    failed: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Median:
    """One figure of a case over its runs."""

    median: float
    min: float
    max: float
    runs: int


# A figure of a system in a case of a scenario.
Key = tuple[str, str, str, str]


@dataclass
class Result:
    """All that is kept of one bench."""

    machine: dict[str, Any]
    server: dict[str, str]
    systems: dict[str, dict[str, Any]]
    scenarios: dict[str, dict[str, Any]]  # with the parameters that were used
    runs: list[Run] = field(default_factory=list)

    def medians(self) -> dict[Key, Median]:
        """Every figure that is a number, by scenario, case, system and name."""
        return medians(self.runs)

    def figure(self, scenario: str, case: str, system: str, name: str) -> float | None:
        """The median of one figure, if there is one."""
        found = self.medians().get((scenario, case, system, name))
        return found.median if found else None

    def write(self, folder: Path) -> Path:
        """Write it as result.json."""
        tree: dict[str, Any] = {}
        for (scenario, case, system, name), median in self.medians().items():
            tree.setdefault(scenario, {}).setdefault(case, {}).setdefault(system, {})[name] = asdict(median)
        path = folder / "result.json"
        text = {"version": VERSION, **asdict(self), "medians": tree}
        path.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n")
        return path

    @classmethod
    def read(cls, path: Path) -> Result:
        """Read a result.json, or the one in a folder."""
        known = json.loads((path / "result.json" if path.is_dir() else path).read_text())
        if known.get("version") != VERSION:
            raise ValueError(f"{path} has format {known.get('version')}, not {VERSION}.")
        runs = [Run(**each) for each in known["runs"]]
        return cls(known["machine"], known["server"], known["systems"], known["scenarios"], runs)


def medians(runs: Iterable[Run]) -> dict[Key, Median]:
    """The medians of all figures that are numbers, in the order in which they were met."""
    values: dict[Key, list[float]] = {}
    for run in runs:
        for name, value in run.figures.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                values.setdefault((run.scenario, run.case, run.system, name), []).append(value)
    return {key: Median(statistics.median(each), min(each), max(each), len(each)) for key, each in values.items()}


def failures(runs: Iterable[Run]) -> Mapping[tuple[str, str, str], str]:
    """Why a case of a system came to nothing, for those whose runs all failed."""
    found: dict[tuple[str, str, str], str] = {}
    ran = set()
    for run in runs:
        if run.failed is None:
            ran.add((run.scenario, run.case, run.system))
        else:
            found[run.scenario, run.case, run.system] = run.failed
    return {key: why for key, why in found.items() if key not in ran}
