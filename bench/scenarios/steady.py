"""Hours at a fixed rate: whether latency, CPU, memory or what is stored creep upwards."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import counters, meters
from bench.running import Crew, Failed, Program
from bench.scenario import Bench, Case, Figures, Scenario, percentiles
from bench.scenarios.drain import drain
from bench.scenarios.latency import stamps, started_at
from bench.stage import Stage
from bench.systems import System
from bench.trend import trend

WARM = 0.1  # share of the time that is left out at the beginning: a new table grows to its size


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """One, of pgjobs."""
    return [Case("steady")] if system.name == "pgjobs" else []


def run(bench: Bench, system: System, case: Case) -> Figures:
    """Enqueue at the rate, look every minute, and fit lines at the end."""
    known = bench.parameters
    rate = known["rate"]
    if known["share"]:
        with bench.stage(system) as stage:
            rate = round(known["share"] * drain(stage, 50_000, keep=known["keep"])["jobs/s"])
    count = round(rate * known["seconds"])
    with bench.stage(system) as stage:
        enqueued, started = stage.folder / "enqueued", stage.folder / "started"
        with stage.workers(1, stamps=started, keep=known["keep"]) as crew:
            crew.wait_ready()
            crew.at_rest(1.0)
            clients = max(1, round(rate / 250))
            with stage.start("enqueue", count=count, rate=rate, clients=clients, stamps=enqueued) as client:
                samples = watch(stage, crew, client, known["seconds"], known["every"])
                client.finish(known["seconds"] * 0.1 + 60)
            crew.wait_executed(count, 60)
            stage.wait_settled(60)
            resident = crew.resident()
            crew.stop()
        series = {**by_minute(enqueued, started, known["every"]), **differences(samples, rate * known["every"])}
        violations = breaches(stage)
    waits = list(series.pop("all waits"))
    return {
        **percentiles(waits),
        "worker MB": round(resident / 1e6, 1),
        "violations": violations,
        **slopes(series, known["every"]),
        "series": series,
        "rate/s": rate,
        "jobs": count,
    }


def watch(stage: Stage, crew: Crew, client: Program, seconds: float, every: float) -> list[dict[str, float]]:
    """Look at CPU, memory and sizes at equal distances."""
    assert stage.db is not None
    samples = []
    begin = time.monotonic()
    for number in range(int(seconds / every) + 1):
        crew.at_rest(begin + number * every - time.monotonic())
        if client.ended:
            break
        [worker] = crew.programs
        samples.append(
            {
                "worker CPU": crew.cpu(),
                "server CPU": stage.server_cpu() or 0.0,
                "worker MB": meters.resident_of_session(worker.pid) / 1e6,
                **{f"{name} MB": size / 1e6 for name, size in counters.sizes(stage.db).items()},
            }
        )
    if len(samples) < 2:
        raise Failed("It was over before it could be looked at.")
    return samples


def differences(samples: Sequence[dict[str, float]], jobs: float) -> dict[str, list[float]]:
    """CPU from look to look, for each job; the rest as it was seen."""
    names = dict.fromkeys(name for sample in samples for name in sample)
    series: dict[str, list[float]] = {}
    for name in names:
        seen = [sample.get(name, 0.0) for sample in samples]
        if name.endswith("CPU"):
            steps = itertools.pairwise(seen)
            series[f"{name} µs/job"] = [round((later - sooner) / jobs * 1e6, 2) for sooner, later in steps]
        else:
            series[name] = [round(size, 3) for size in seen[1:]]
    return series


def by_minute(enqueued: Path, started: Path, every: float) -> dict[str, list[float]]:
    """Median and 99th percentile of the waits, of the jobs committed in each minute."""
    committed, starts = stamps(enqueued), started_at(started)
    begin = min(committed.values())
    minutes: list[list[float]] = []
    waits = []
    for n, at in sorted(committed.items(), key=lambda each: each[1]):
        if n not in starts:
            raise Failed(f"Job {n} was not started.")
        wait = 1000 * (starts[n] - at)
        waits.append(wait)
        while len(minutes) <= (at - begin) // every:
            minutes.append([])
        minutes[int((at - begin) // every)].append(wait)
    full = [percentiles(each) for each in minutes if len(each) >= 100]
    return {
        "p50 ms": [each["p50 ms"] for each in full],
        "p99 ms": [each["p99 ms"] for each in full],
        "all waits": waits,
    }


def slopes(series: dict[str, list[float]], every: float) -> dict[str, Any]:
    """For each series its mean, its slope an hour, and how many standard errors that is away from none."""
    figures: dict[str, Any] = {"slopes": {}}
    for name, values in series.items():
        settled = values[round(len(values) * WARM) :]
        if len(settled) < 4:
            continue
        line = trend(settled)
        figures["slopes"][name] = {
            "mean": round(line.mean, 4),
            "an hour": round(line.slope * 3600 / every, 4),
            "error": round(line.error * 3600 / every, 4),
            "t": round(line.t, 2) if abs(line.t) < 1e6 else None,
            "told from noise": line.is_told,
        }
    # History grows by what is kept: that it does is no finding.
    told = [name for name, line in figures["slopes"].items() if line["told from noise"] and "history" not in name]
    figures["rising"] = [name for name in told if figures["slopes"][name]["an hour"] > 0]
    figures["falling"] = [name for name in told if figures["slopes"][name]["an hour"] < 0]
    return figures


def breaches(stage: Stage) -> int:
    """How many invariants are broken."""
    assert stage.db is not None
    [(found,)] = stage.db.execute("select count(*) from pgjobs.violations").fetchall()
    return int(found)


SCENARIO = Scenario(
    "steady",
    "A fixed rate for hours: slopes of latency, CPU, memory and sizes, and whether they can be told from noise.",
    cases,
    run,
    ("p50 ms", "p99 ms", "max ms", "worker MB", "rising", "falling", "violations"),
    comparing=False,
    parameters={"rate": 500, "seconds": 7200, "every": 60, "share": None, "keep": True},
)
