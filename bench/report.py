"""The report of a result, as Markdown: first the targets, then a table a scenario, then what the systems promise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.compare import is_higher_better
from bench.results import Key, Median, Result, failures
from bench.scenarios import SCENARIOS
from bench.targets import Row, judge


def report(result: Result, plots: Sequence[str] = ()) -> str:
    """All of it."""
    medians = result.medians()
    parts = ["# What was measured", *about(result)]
    rows = judge(medians)
    if rows:
        parts += ["## Targets", targets(rows)]
    for name, scenario in result.scenarios.items():
        parts += [f"## {name}", scenario["about"], scenario_table(result, medians, name)]
        parts += [f"![{plot}]({plot})" for plot in plots if plot.startswith(f"{name}.")]
        parts += failed(result, name)
    parts += ["## The systems", systems(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


def about(result: Result) -> list[str]:
    """Commit, machine, server."""
    m = result.machine
    changed = " with changes that are not committed" if m["dirty"] else ""
    server = ", ".join(f"`{name} = {value}`" for name, value in result.server.items() if name != "version")
    version = int(result.server.get("version", "0"))
    return [
        f"Commit `{m['commit'][:12]}`{changed}, {m['date']}. {m['cpu']}, {m['cores']} cores, {m['memory MB']:,} MB, "
        f"{m['kernel']}, Python {m['python']}, psycopg {m['psycopg']}, uvloop {m['uvloop'] or 'not installed'}.",
        f"PostgreSQL {version // 10000}.{version % 10000}: {server}.",
        "Medians; in brackets the least and the most of the runs. A dash: not measured, or not to be had there.",
    ]


def targets(rows: Iterable[Row]) -> str:
    """The targets as ratios, with the figures that they are of."""
    lines = [
        [row.what, row.bound, "-" if row.value is None else f"{row.value:.2f}" if row.value < 100 else f"{row.value:,.0f}",
         "-" if row.holds is None else "yes" if row.holds else "**no**", row.figures]
        for row in rows
    ]  # fmt: skip
    return table(["target", "wanted", "measured", "holds", "figures"], lines)


def scenario_table(result: Result, medians: dict[Key, Median], name: str) -> str:
    """One row for each case and system, in the order of the cases."""
    known = SCENARIOS.get(name)
    figures = [figure for _, _, _, figure in medians if _belongs(medians, name, figure)]
    columns = [each for each in (known.columns if known else dict.fromkeys(figures)) if each in set(figures)]
    texts = [each for each in (known.columns if known else ()) if each not in columns]
    lines = []
    for case, system in in_order(result, medians, name, columns):
        cells = [cell(medians.get((name, case, system, column)), spread=not i) for i, column in enumerate(columns)]
        told = [text_of(result, name, case, system, text) for text in texts]
        if any(each != "-" for each in (*cells, *told)):
            lines.append([case, system, *cells, *told])
    used = [i for i, text in enumerate(texts) if any(line[2 + len(columns) + i] != "-" for line in lines)]
    heads = ["case", "system", *columns, *(texts[i] for i in used)]
    kept = [line[: 2 + len(columns)] + [line[2 + len(columns) + i] for i in used] for line in lines]
    return table(heads, kept) if kept else "Nothing was measured."


def in_order(result: Result, medians: dict[Key, Median], name: str, columns: Sequence[str]) -> list[tuple[str, str]]:
    """Case and system of each row: the cases as they were run, in each the best first by the first column."""
    rows = list(dict.fromkeys((run.case, run.system) for run in result.runs if run.scenario == name))
    cases = list(dict.fromkeys(case for case, _ in rows))

    def place(row: tuple[str, str]) -> tuple[int, float]:
        case, system = row
        median = medians.get((name, case, system, columns[0])) if columns else None
        if median is None:
            return cases.index(case), float("inf")
        return cases.index(case), -median.median if is_higher_better(columns[0]) else median.median

    return sorted(rows, key=place)


def _belongs(medians: dict[Key, Median], scenario: str, figure: str) -> bool:
    return any(key[0] == scenario and key[3] == figure for key in medians)


def text_of(result: Result, scenario: str, case: str, system: str, name: str) -> str:
    """A figure that is no number, of the last run that has it."""
    for run in reversed(result.runs):
        if (run.scenario, run.case, run.system) == (scenario, case, system) and name in run.figures:
            value = run.figures[name]
            if isinstance(value, list):
                return ", ".join(str(each) for each in value) or "none"
    return "-"


def failed(result: Result, name: str) -> list[str]:
    """What came to nothing, and why."""
    found = [(case, system, why) for (scenario, case, system), why in failures(result.runs).items() if scenario == name]
    return (
        ["Failed:\n\n" + "\n".join(f"- {case}, {system}: {' '.join(why.split())}" for case, system, why in found)]
        if found
        else []
    )


def systems(result: Result) -> str:
    """Settings and promises of each."""
    lines = [
        [name, ", ".join(known["requirements"]) or "-", known["settings"], known["promises"]]
        for name, known in result.systems.items()
    ]
    return table(["system", "versions", "settings", "promises"], lines)


def cell(median: Median | None, spread: bool) -> str:
    """A figure; its spread as well if asked for and there is one."""
    if median is None:
        return "-"
    text = number(median.median)
    return f"{text} ({number(median.min)} to {number(median.max)})" if spread and median.runs > 1 else text


def number(value: float) -> str:
    """With as many digits as say something."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.4f}"


def table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [list(heads), ["---"] * len(heads), *escaped])
