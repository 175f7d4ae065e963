"""The one loop that drives every background step: call it, wait, call it again; at once if it was full."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

log = logging.getLogger("pgjobs.worker")


class Step(Protocol):
    """Something that is done in bounded portions: `step` does one and returns how much it did, `limit` is a full one."""

    limit: int

    def step(self) -> int: ...


@dataclass(slots=True)
class Every:
    """A step and how often it is due."""

    step: Step
    interval: timedelta


def drive(steps: Sequence[Every], stopped: threading.Event, on_error: Callable[[Exception], None]) -> None:
    """Run the steps, each when it is due, until `stopped` is set. An error of one is reported and does not end the loop."""
    due = [time.monotonic() + _spread(every.interval) for every in steps]
    while True:
        now = time.monotonic()
        if stopped.wait(max(0.0, min(due) - now)):
            return
        for index, every in enumerate(steps):
            if time.monotonic() < due[index] or stopped.is_set():
                continue
            full = False
            try:
                full = every.step.step() >= every.step.limit
            except Exception as error:
                on_error(error)
            due[index] = time.monotonic() + (0 if full else _spread(every.interval))


def _spread(interval: timedelta) -> float:
    # Workers that were started together must not look together for ever.
    return interval.total_seconds() * random.uniform(0.9, 1.1)
