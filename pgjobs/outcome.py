"""How a run ends: Done, Retry, Snooze, Cancel, Fail. A handler returns for the first and raises the others.

They stand outside `Exception`, so that a handler's own `except Exception` does not swallow them.
"""

from __future__ import annotations

import traceback as traceback_module
from dataclasses import dataclass
from datetime import timedelta

from pgjobs.payload import storable


class Retry(BaseException):
    """Try again after `delay`: a failed attempt, counted. Without a delay, when the task's backoff says.

    Arguments: delay in seconds or as a timedelta; a reason, kept as the error's message.
    """

    def __init__(self, delay: timedelta | float | None = None, reason: str = "asked to retry") -> None:
        super().__init__(reason)
        self.delay = None if delay is None else as_timedelta(delay)
        self.reason = reason


class Snooze(BaseException):
    """Not now: again after `delay` (seconds or a timedelta), and not counted as an attempt."""

    def __init__(self, delay: timedelta | float) -> None:
        super().__init__(delay)
        self.delay = as_timedelta(delay)


class Cancel(BaseException):
    """Finish the job as cancelled, for a reason: it has become pointless."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Fail(BaseException):
    """Give up at once: a dead letter, whatever attempts are left."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Done:
    """The run completed; `result` is its JSON text."""

    result: str = "null"


@dataclass(frozen=True, slots=True)
class Release:
    """The run was cut short by us (shutdown, a lost lease): given back as if it had not been claimed."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A failed attempt, in words that PostgreSQL can keep.

    `delay`: None means as the task's backoff says. `final`: no further attempt, whatever is left.
    """

    error: str
    message: str
    traceback: str | None = None
    delay: timedelta | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Snoozed:
    """Again after `delay`, not counted."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Finished without a result, for a reason: the handler's, or that of whoever asked for it (None: as the database knows)."""

    reason: str | None


Outcome = Done | Failed | Snoozed | Cancelled | Release


def from_exception(error: BaseException) -> Outcome:
    """Return the outcome that an exception of a handler stands for. Never raises, whatever the exception is like."""
    return said(error) or failure(error)


def said(error: BaseException) -> Outcome | None:
    """Return what a handler said by raising this; None for an exception like any other. Never raises.

    Of a group, as a TaskGroup raises it: what its members said, if all of them said something. Fail goes before Cancel,
    Cancel before Retry, and Retry before Snooze.
    """
    try:
        if isinstance(error, BaseExceptionGroup):
            spoken = [said(each) for each in error.exceptions]
            outcomes = [outcome for outcome in spoken if outcome is not None]
            return min(outcomes, key=_weight) if outcomes and len(outcomes) == len(spoken) else None
        match error:
            case Snooze():
                return Snoozed(error.delay)
            case Cancel():
                return Cancelled(storable(str(error.reason)))
            case Fail():
                return Failed("Fail", storable(str(error.reason)), final=True)
            case Retry():
                return Failed("Retry", storable(str(error.reason)), delay=error.delay)
    except BaseException:
        pass  # a subclass without what it needs, a reason without a text: a failure like any other
    return None


def _weight(outcome: Outcome) -> int:
    match outcome:
        case Failed(final=True):
            return 0
        case Cancelled():
            return 1
        case Failed():
            return 2
    return 3


def failure(error: BaseException) -> Failed:
    """Return the failed attempt that an exception stands for, in words. Never raises, whatever the exception is like."""
    try:
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    except BaseException:
        name = "(an exception whose name could not be read)"
    try:
        message = str(error)
    except BaseException:
        message = "(its message could not be read: str() of the exception raised)"
    try:
        trace = "".join(traceback_module.format_exception(error))
    except BaseException:
        trace = "".join(traceback_module.format_tb(error.__traceback__)) + name
    return Failed(storable(name, 500), storable(message), storable(trace, 50_000))


def as_timedelta(value: timedelta | float) -> timedelta:
    """Return a duration given at the public edge, where plain numbers are seconds, as a timedelta."""
    return value if isinstance(value, timedelta) else timedelta(seconds=value)
