"""Compares a result with a saved one: the ratio of every figure that is better or worse, and which of them is a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.results import Key, Median, Result

NOISE = 0.10  # what two runs of the same may differ by
HIGHER = ("/s", "share", "share of ideal")
LOWER = ("µs/job", "B/job", "statements/job", "pages/job", "ms", "MB", "s", "dead rows", "violations")
# What was chosen and not measured, or says how a run went and not how well.
NEITHER = ("jobs", "others", "ideal", "rate/s", "enqueued/s", "filled/s", "kills", "runs", "most runs", "completed")


@dataclass(frozen=True)
class Change:
    """One figure, then and now."""

    key: Key
    then: Median
    now: Median
    allowed: float  # the share by which it may be worse

    @property
    def ratio(self) -> float:
        """Now by then."""
        return self.now.median / self.then.median if self.then.median else float("inf") if self.now.median else 1.0

    @property
    def worse(self) -> float:
        """By which share it is worse; negative if it is better."""
        if is_higher_better(self.key[3]):
            return 1 - self.ratio
        return self.ratio - 1

    @property
    def is_loss(self) -> bool:
        """Whether it is worse than noise and spread explain."""
        return self.worse > self.allowed


def is_higher_better(name: str) -> bool | None:
    """Whether more of it is better; None if neither is."""
    if name in NEITHER or name.startswith("rounds "):
        return None
    if name.endswith(HIGHER):
        return True
    return False if name.endswith(LOWER) else None


def compare(then: Result, now: Result) -> list[Change]:
    """Every figure that both have, the worst first."""
    before, after = then.medians(), now.medians()
    changes = [
        Change(key, before[key], after[key], allowed(before[key], after[key]))
        for key in after
        if key in before and is_higher_better(key[3]) is not None
    ]
    return sorted(changes, key=lambda change: change.worse, reverse=True)


def allowed(then: Median, now: Median) -> float:
    """The share by which a figure may be worse: ten per cent, or the spread of either result if that is wider."""
    return max(NOISE, *(spread(median) for median in (then, now)))


def spread(median: Median) -> float:
    """How far the runs lie apart, as a share of their median."""
    return (median.max - median.min) / abs(median.median) if median.median else 0.0


def told(changes: Sequence[Change]) -> str:
    """A line for each figure; losses are marked."""
    lines = []
    for change in changes:
        scenario, case, system, name = change.key
        mark = "LOSS" if change.is_loss else "    "
        lines.append(
            f"{mark} {change.ratio:7.3f}  {scenario} / {case} / {system}: {name} {change.then.median:,.6g} -> "
            f"{change.now.median:,.6g} (may be worse by {change.allowed:.0%})"
        )
    losses = sum(change.is_loss for change in changes)
    return "\n".join([*lines, f"{len(changes)} figures compared, {losses} of them a loss."])
