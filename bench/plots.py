"""The plots of a result, as PNG files beside it. matplotlib comes with the extra `bench`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.results import Key, Median, Result

DRAIN = "1 process, nothing kept"


def draw(result: Result, folder: Path) -> list[str]:
    """Draw what there are figures for; return the names of the files."""
    import matplotlib as mpl

    mpl.use("agg")
    drawn = []
    for name, plot in PLOTS.items():
        figure = plot(result, result.medians())
        if figure is not None:
            figure.savefig(folder / name, dpi=110, bbox_inches="tight")
            drawn.append(name)
    return drawn


def new(rows: int = 1) -> tuple[Any, Any]:
    """A figure, with axes below each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2 * rows))
    return figure, figure.subplots(rows, 1, squeeze=False)[:, 0]


def drain(result: Result, medians: dict[Key, Median]) -> Any:
    """Bars: jobs a second of each case, with the spread of the runs."""
    cases = [case for case in of(medians, "drain", 1) if "process" in case and not case.startswith("1 process, p")]
    return bars(medians, "drain", cases, "jobs/s")


def enqueue(result: Result, medians: dict[Key, Median]) -> Any:
    """Lines: jobs a second by the number of clients."""
    lines: dict[str, dict[int, Median]] = {}
    for (scenario, case, system, name), median in medians.items():
        if scenario == "enqueue" and name == "jobs/s":
            clients, _, rest = case.partition(" client")
            kind = rest.removeprefix("s").strip(", ")
            lines.setdefault(f"{system} {kind}".strip(), {})[int(clients)] = median
    if not any(len(points) > 1 for points in lines.values()):
        return None
    figure, [axes] = new()
    for label, points in lines.items():
        counts = sorted(points)
        axes.errorbar(
            counts, [points[c].median for c in counts], label=label, marker="o", capsize=3,
            yerr=[[points[c].median - points[c].min for c in counts], [points[c].max - points[c].median for c in counts]],
        )  # fmt: skip
    axes.set(xlabel="clients", ylabel="jobs/s", title="enqueue one by one", xscale="log", yscale="log")
    axes.set_xticks(counts_of(lines), [str(count) for count in counts_of(lines)])
    axes.legend(fontsize="x-small", bbox_to_anchor=(1.01, 1), loc="upper left")
    return figure


def counts_of(lines: dict[str, dict[int, Median]]) -> list[int]:
    """All numbers of clients."""
    return sorted({count for points in lines.values() for count in points})


def bulk(result: Result, medians: dict[Key, Median]) -> Any:
    """Bars: rows a second of each way."""
    return bars(medians, "bulk", of(medians, "bulk", 1), "rows/s")


def bars(medians: dict[Key, Median], scenario: str, cases: Sequence[str], name: str) -> Any:
    """Horizontal bars, one for each case and system."""
    found = []
    for case in cases:
        there = [(system, medians.get((scenario, case, system, name))) for system in of(medians, scenario, 2)]
        measured = [(f"{system}: {case}", median) for system, median in there if median is not None]
        found += sorted(measured, key=lambda each: each[1].median, reverse=True)
    if not found:
        return None
    figure, [axes] = new()
    figure.set_figheight(1 + 0.26 * len(found))
    places = range(len(found))
    values = [median.median for _, median in found]
    errors = [[m.median - m.min for _, m in found], [m.max - m.median for _, m in found]]
    colours = [
        "tab:blue" if label.startswith("pgjobs") else "tab:gray" if label.startswith("bare") else "tab:orange"
        for label, _ in found
    ]
    axes.barh(places, values, xerr=errors, color=colours, capsize=2)
    axes.set_yticks(places, [label for label, _ in found], fontsize="small")
    axes.invert_yaxis()
    axes.grid(axis="x", which="both", alpha=0.3)
    axes.margins(y=0.01)
    axes.set(xlabel=f"{name}, logarithmic", title=scenario, xscale="log")
    return figure


def latency(result: Result, medians: dict[Key, Median]) -> Any:
    """Points: percentiles of each system at each rate."""
    rates = of(medians, "latency", 1)
    systems = of(medians, "latency", 2)
    if not rates:
        return None
    figure, all_axes = new(len(rates))
    for axes, case in zip(all_axes, rates, strict=True):
        for name, marker in (("p50 ms", "o"), ("p95 ms", "s"), ("p99 ms", "^"), ("max ms", "x")):
            there = [system for system in systems if ("latency", case, system, name) in medians]
            values = [max(0.01, medians["latency", case, system, name].median) for system in there]
            axes.plot(there, values, marker, label=name)
        axes.set(yscale="log", ylabel="ms", title=f"commit to start, {case}")
        axes.tick_params(axis="x", rotation=20)
        axes.legend(fontsize="x-small")
    figure.subplots_adjust(hspace=0.6)
    return figure


def held(result: Result, medians: dict[Key, Median]) -> Any:
    """Lines: jobs a second, round by round."""
    runs = [run for run in result.runs if run.scenario == "held" and "rounds jobs/s" in run.figures]
    if not runs:
        return None
    figure, all_axes = new(2)
    for axes, case in zip(all_axes, ("snapshot held", "nothing held"), strict=True):
        for system in dict.fromkeys(run.system for run in runs):
            rounds = [run.figures["rounds jobs/s"] for run in runs if (run.case, run.system) == (case, system)]
            if rounds:
                axes.plot(
                    [sorted(each)[len(each) // 2] for each in zip(*rounds, strict=False)], marker=".", label=system
                )
        axes.set(xlabel="round", ylabel="jobs/s", title=case, yscale="log")
        axes.legend(fontsize="x-small", bbox_to_anchor=(1.01, 1), loc="upper left")
    figure.subplots_adjust(hspace=0.4)
    return figure


def steady(result: Result, medians: dict[Key, Median]) -> Any:
    """Lines: each series over time."""
    runs = [run for run in result.runs if run.scenario == "steady" and "series" in run.figures]
    if not runs:
        return None
    series = runs[-1].figures["series"]
    groups = [
        ("ms from commit to start", [name for name in series if name.endswith(" ms")]),
        ("CPU, µs a job", [name for name in series if name.endswith("µs/job")]),
        ("MB", [name for name in series if name.endswith("MB") and "history" not in name]),
    ]
    figure, all_axes = new(len(groups))
    for axes, (label, names) in zip(all_axes, groups, strict=True):
        for name in names:
            axes.plot(series[name], label=name)
        axes.set(xlabel="minute", ylabel=label)
        axes.set_ylim(bottom=0)
        axes.legend(fontsize="xx-small", bbox_to_anchor=(1.01, 1), loc="upper left")
    return figure


def of(medians: dict[Key, Median], scenario: str, part: int) -> list[str]:
    """The cases (1) or systems (2) of a scenario, in their order."""
    return list(dict.fromkeys(key[part] for key in medians if key[0] == scenario))


PLOTS: dict[str, Callable[[Result, dict[Key, Median]], Any]] = {
    "drain.png": drain,
    "enqueue.png": enqueue,
    "bulk.png": bulk,
    "latency.png": latency,
    "held.png": held,
    "steady.png": steady,
}
