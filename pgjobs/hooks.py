"""What an app is told about the runs of a worker: hooks on_start, on_success, on_retry, on_failure, on_error.

Hooks are told and take no part: they are called in the worker's process after the fact, in order, each bounded in time.
What must happen before a run, or in the process where it runs, is a middleware.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from pgjobs.context import JobContext
from pgjobs.errors import ConfigurationError
from pgjobs.outcome import Failed, Outcome

Kind = Literal["start", "success", "retry", "failure", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """What a hook is told.

    `job` is the run it is about; None for a trouble of the worker itself. `outcome` says how the run ended: `Done` with the
    result as JSON text, or `Failed` with the error in words: exceptions themselves do not leave the process they were
    raised in. `seconds` is how long the run took.
    """

    kind: Kind
    worker: int
    job: JobContext | None = None
    outcome: Outcome | None = None
    seconds: float | None = None

    @property
    def error(self) -> str | None:
        """The error in one line; None without one."""
        outcome = self.outcome
        return f"{outcome.error}: {outcome.message}" if isinstance(outcome, Failed) else None


Hook = Callable[[Event], Awaitable[object] | object]
H = TypeVar("H", bound=Hook)


@dataclass(slots=True)
class Hooks:
    """The hooks of an app, by what they want to be told of."""

    by_kind: dict[Kind, list[Hook]] = field(default_factory=dict)

    def add(self, kind: Kind, hook: H) -> H:
        """Add a hook and return it. Raises ConfigurationError for what cannot be called."""
        if not callable(hook):
            raise ConfigurationError(f"A hook is a function, not {hook!r}.")
        self.by_kind.setdefault(kind, []).append(hook)
        return hook

    def __bool__(self) -> bool:
        return bool(self.by_kind)
