"""What the three executors have in common."""

from __future__ import annotations

import contextvars
from abc import ABC, abstractmethod
from collections.abc import Callable

from pgjobs.outcome import Outcome
from pgjobs.worker.run import Run


class Executor(ABC):
    """Runs handlers. All of its methods are called in the event loop.

    `home` is the context of the worker, of which every run gets a copy: a run may be started at the end of another, and then
    the present context is that one's.
    """

    home: contextvars.Context | None = None

    # Who is told, in the event loop, of each run that was started and has ended: once, whatever happens.
    ended: Callable[[Run, Outcome], None]

    def fresh_context(self) -> contextvars.Context:
        """Return a context for a run."""
        if self.home is None:
            self.home = contextvars.copy_context()
        return self.home.copy()

    @abstractmethod
    def start(self, run: Run) -> None:
        """Start a run; never raises."""

    @abstractmethod
    def cancel(self, run: Run) -> None:
        """Stop this run, or ask it to; it goes on until it has come to its end."""

    @abstractmethod
    def cut_short(self, run: Run) -> None:
        """Stop this run, or ask it to and let go of it a moment later; unless it has come to an end, it is given back."""

    async def close(self) -> None:  # noqa: B027
        """Let go of everything; nothing runs any more, or is abandoned."""
