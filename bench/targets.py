"""What must hold, as ratios of figures of one run; the absolute figures stand beside them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.results import Key, Median

Medians = dict[Key, Median]
PYTHON_PEERS = ("procrastinate", "pgqueuer", "oban", "chancy", "awa", "dramatiq", "celery", "rq")
PEERS = (*PYTHON_PEERS, "graphile-worker", "pg-boss")


@dataclass(frozen=True)
class Row:
    """A target and what came of it."""

    what: str
    bound: str  # "≥ 1.25"
    value: float | None  # the ratio, or the figure itself; None: it was not measured
    holds: bool | None
    figures: str


@dataclass(frozen=True)
class Target:
    """One figure of ours over another's, or by itself where there is none to compare."""

    what: str
    sign: str
    bound: float
    ours: Sequence[Key]  # the best of them
    theirs: Sequence[Key] = ()  # the best of them
    apart: bool = False  # whether the difference is judged, not the ratio

    def row(self, medians: Medians) -> Row:
        """Judge it."""
        best = max if self.sign == "≥" else min
        mine, other = pick(medians, self.ours, best), pick(medians, self.theirs, best)
        bound = f"{self.sign} {self.bound:g}"
        if mine is None or (self.theirs and (other is None or not other[1])):
            return Row(self.what, bound, None, None, told([mine, other]))
        value = mine[1]
        if other:
            value = mine[1] - other[1] if self.apart else mine[1] / other[1]
        holds = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}[self.sign](value, self.bound)
        return Row(self.what, bound, value, holds, told([mine, other]))


Found = tuple[Key, float]


def pick(medians: Medians, keys: Sequence[Key], best: Callable[..., Found]) -> Found | None:
    """The best of the figures that were measured."""
    found = [(key, medians[key].median) for key in keys if key in medians]
    return best(found, key=lambda each: each[1]) if found else None


def told(found: Iterable[Found | None]) -> str:
    """The figures in words: which system, which case if it is not the same, how much."""
    words = [f"{system}: {value:,.4g} {name}" if value < 1000 else f"{system}: {value:,.0f} {name}"
             for each in found if each for (_, _, system, name), value in [each]]  # fmt: skip
    return "; ".join(words)


def rate(system: str, case: str, scenario: str = "drain", name: str = "jobs/s") -> Key:
    """The key of a figure, by default the rate of a drain."""
    return (scenario, case, system, name)


def targets() -> list[Target]:
    """All of them."""
    one, two, kept = "1 process, nothing kept", "2 processes, nothing kept", "1 process, kept"
    us, bare, graphile = "pgjobs", "bare", "graphile-worker"
    ours = [rate(us, one)]
    found = [
        Target("drain, 1 process: against graphile-worker", "≥", 1.25, ours, [rate(graphile, one)]),
        Target("drain, 1 process: against pgqueuer", "≥", 3, ours, [rate("pgqueuer", one), rate("pgqueuer", kept)]),
        Target("drain, 1 process: against the bare loop", "≥", 0.6, ours, [rate(bare, one)]),
        Target("drain with history: against graphile-worker", "≥", 1.0, [rate(us, kept)], [rate(graphile, one)]),
        Target("drain, 2 processes: against graphile-worker", "≥", 1.2, [rate(us, two)], [rate(graphile, two)]),
        Target("thread executor: against async", "≥", 0.6, [rate(us, "1 process, thread")], ours),
        Target("process executor, jobs/s", "≥", 8_000, [rate(us, "1 process, process")]),
    ]
    enqueue = [("enqueue, 1 client: against bare INSERT", 0.85, "1 client, workers busy", "1 client")]
    for by, who in (("", "32 clients"), (", in SQL", "32 clients in SQL")):
        idle = f"enqueue, 32 clients, idle{by}: against a NOTIFY each"
        enqueue += [
            (f"enqueue, 32 clients, busy{by}: against bare INSERTs", 0.8, f"{who}, workers busy", who),
            (f"{idle} that a worker hears", 3, f"{who}, workers idle", f"{who}, NOTIFY each, a worker listens"),
            (f"{idle} that nobody hears", 3, f"{who}, workers idle", f"{who}, NOTIFY each"),
        ]
    found += [
        Target(what, "≥", bound, [rate(us, case, "enqueue")], [rate(bare, other, "enqueue")])
        for what, bound, case, other in enqueue
    ]
    rows = "rows/s"
    found += [
        Target("enqueue_many: against bare COPY", "≥", 0.5, [rate(us, "COPY", "bulk", rows)], [rate(bare, "COPY", "bulk", rows)]),
        Target("by the array function: against bare unnest", "≥", 0.7,
               [rate(us, "INSERT from one array", "bulk", rows)], [rate(bare, "INSERT from one array", "bulk", rows)]),
        Target("enqueue_many: against every peer", "≥", 1.0,
               [rate(us, "COPY", "bulk", rows)], [rate(peer, "bulk", "bulk", rows) for peer in PEERS]),
    ]  # fmt: skip
    for name in ("p50 ms", "p99 ms"):
        peers = (*PYTHON_PEERS, graphile)
        found += [
            # The difference, since a start may come before the client has heard of its commit.
            Target(f"latency at 20/s, {name}: more than the best peer's", "≤", 0, [rate(us, "20/s", "latency", name)],
                   [rate(peer, "20/s", "latency", name) for peer in peers], apart=True),
            Target(f"the same from the call, {name}: against the best peer", "≤", 1.0,
                   [rate(us, "20/s", "latency", f"call to start {name}")],
                   [rate(peer, "20/s", "latency", f"call to start {name}") for peer in peers]),
            Target(f"the same by one client for both, {name}: more than graphile-worker's", "≤", 0,
                   [rate(us, "20/s, the same client", "latency", name)],
                   [rate(graphile, "20/s, the same client", "latency", name)], apart=True),
        ]  # fmt: skip
    found += [
        Target("latency at 2,000/s, p99 ms", "<", 20, [rate(us, "2,000/s", "latency", "p99 ms")]),
        Target("held snapshot, mixture: last round against first", "≥", 0.95,
               [rate(us, "snapshot held", "mixture", "last by first share")]),
        Target("held snapshot, mixture: worst wait s", "<", 3, [rate(us, "snapshot held", "mixture", "worst wait s")]),
        Target("held snapshot, drains: last rounds against first", "≥", 0.95, [rate(us, "snapshot held", "held", "last by first share")]),
        Target("readers: backlog s", "<", 1, [rate(us, "readers", "readers", "backlog s")]),
        Target("readers: p99 ms more than quiet", "≤", 5,
               [rate(us, "readers", "readers", "p99 ms")], [rate(us, "no readers", "readers", "p99 ms")], apart=True),
        Target("steady: series that rise", "≤", 0, [rate(us, "steady", "steady", "rising series")]),
    ]  # fmt: skip
    found += [
        Target(f"depth: {kind}", "≥", 0.9, [rate(us, kind, "depth")], [rate(us, "nothing else", "depth")])
        for kind in ("others in the future", "others in another queue", "others of a lower priority", "many ready")
    ]
    found += [
        Target("100 queues against one", "≥", 0.7, [rate(us, "100 queues", "queues")], [rate(us, "1 queue", "queues")]),
        Target("WAL a job: against bare claim and delete", "≤", 1.15,
               [rate(us, one, "drain", "WAL B/job")], [rate(bare, one, "drain", "WAL B/job")]),
        Target("worker at full load, MB", "<", 80, [rate(us, one, "drain", "worker MB")]),
        Target("start to first job, s", "<", 0.3, [rate(us, "pgjobs worker", "start", "median s")]),
    ]  # fmt: skip
    return found


def judge(medians: Medians) -> list[Row]:
    """Those targets of which our own figure was measured."""
    return [row for target in targets() if (row := target.row(medians)).figures]
