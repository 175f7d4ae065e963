"""The one loop that drives every background step: call it, wait, call it again; at once if it was full."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol


class Step(Protocol):
    """Something that is done in bounded portions: `step` does one and returns how much it did, `limit` is a full one."""

    limit: int

    def step(self) -> int: ...


@dataclass(slots=True)
class Every:
    """A step, how often it is due, and when it is due next, by the monotonic clock."""

    step: Step
    interval: timedelta
    due: float = field(init=False)

    def __post_init__(self) -> None:
        self.later()

    def later(self) -> None:
        """Due after its interval."""
        # Workers that were started together must not look together for ever.
        self.due = time.monotonic() + self.interval.total_seconds() * random.uniform(0.9, 1.1)

    def within(self, seconds: float) -> None:
        """Due in so many seconds, or sooner."""
        self.due = min(self.due, time.monotonic() + seconds)


def drive(steps: Sequence[Every], wait: Callable[[float], bool], on_error: Callable[[Exception], None]) -> None:
    """Run the steps, each when it is due, until `wait` says so. An error of one is reported and does not end the loop.

    Arguments: wait, called with the seconds until the next step is due; it may return sooner, and returns whether to stop.
    """
    while not wait(max(0.0, min(every.due for every in steps) - time.monotonic())):
        for every in steps:
            if time.monotonic() < every.due:
                continue
            every.later()
            try:
                if every.step.step() >= every.step.limit:
                    every.within(0)
            except Exception as error:
                on_error(error)
