"""How long to wait before the next attempt: Fixed, Linear, Exponential, each with jitter; Steps; or as a function says.

Durations are seconds or timedeltas. Jitter spreads jobs that failed together: 0.2 means up to 20 % more or less, but never
more than max.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

_YEAR = 365 * 86_400.0


class Backoff(Protocol):
    """Anything that knows how long to wait after failed attempt number `attempt`, which counts from 1."""

    def delay(self, attempt: int) -> timedelta: ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same wait every time."""

    wait: timedelta | float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _check(self.wait, self.wait, self.jitter)

    def delay(self, attempt: int) -> timedelta:
        """Return the wait after failed attempt number `attempt`."""
        return _spread(_seconds(self.wait), _YEAR, self.jitter)


@dataclass(frozen=True, slots=True)
class Linear:
    """One step more every time: step, 2 x step, 3 x step, up to max."""

    step: timedelta | float
    max: timedelta | float = 3600
    jitter: float = 0.0

    def __post_init__(self) -> None:
        _check(self.step, self.max, self.jitter)

    def delay(self, attempt: int) -> timedelta:
        """Return the wait after failed attempt number `attempt`."""
        return _spread(_seconds(self.step) * attempt, _seconds(self.max), self.jitter)


@dataclass(frozen=True, slots=True)
class Exponential:
    """base to the power of the attempt, in seconds, up to max: 2, 4, 8, 16 for base 2."""

    base: float = 2.0
    max: timedelta | float = 3600
    jitter: float = 0.2

    def __post_init__(self) -> None:
        _check(float(self.base), self.max, self.jitter)

    def delay(self, attempt: int) -> timedelta:
        """Return the wait after failed attempt number `attempt`."""
        try:
            seconds = float(self.base) ** attempt  # a float overflows at once, an int would grow for ever
        except OverflowError:
            seconds = _YEAR
        return _spread(seconds, _seconds(self.max), self.jitter)


@dataclass(frozen=True, slots=True)
class Steps:
    """One wait after the other, as listed; the last one again and again. `retry=[1, 10, 60]` is short for it."""

    waits: tuple[timedelta | float, ...]
    jitter: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "waits", tuple(self.waits))
        if not self.waits:
            raise ValueError("at least one wait is needed")
        for wait in self.waits:
            _check(wait, wait, self.jitter)

    def delay(self, attempt: int) -> timedelta:
        """Return the wait after failed attempt number `attempt`."""
        return _spread(_seconds(self.waits[min(attempt, len(self.waits)) - 1]), _YEAR, self.jitter)


@dataclass(frozen=True, slots=True)
class Computed:
    """As a function of the attempt and its exception says, asked where the handler ran."""

    function: Callable[[int, BaseException], timedelta | float]

    def after(self, attempt: int, error: BaseException) -> timedelta:
        """Return the wait after this exception of attempt number `attempt`. Raises what the function raises."""
        wait = self.function(attempt, error)
        _check(wait, wait, 0)
        return _spread(_seconds(wait), _YEAR, 0)

    def delay(self, attempt: int) -> timedelta:
        """Return the wait where no exception is at hand, or the function failed: an exponential one."""
        return Exponential().delay(attempt)


def _seconds(value: timedelta | float) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _check(wait: timedelta | float, most: timedelta | float, jitter: float) -> None:
    if not (_seconds(wait) >= 0 and _seconds(most) >= 0):  # NaN is neither
        raise ValueError("a wait is zero or more seconds")
    if not 0 <= jitter <= 1:
        raise ValueError(f"jitter is a share from 0 to 1, not {jitter}")


def _spread(seconds: float, most: float, jitter: float) -> timedelta:
    most = min(most, _YEAR)
    seconds = min(seconds, most)
    # At the cap the spread is below it only, but it stays a spread: jobs that failed together do not come back together.
    return timedelta(seconds=random.uniform(seconds * (1 - jitter), min(seconds * (1 + jitter), most)))
