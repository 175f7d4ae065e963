"""The event loop of a process that is ours: uvloop's where it is installed, and no exception of a handler's task ends it.

asyncio lets SystemExit and KeyboardInterrupt that escape from a task go on through the loop itself, which ends. What raised
it has it as its exception all the same; so the loop is entered again where it was, and whoever awaits that task is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

log = logging.getLogger("pgjobs.worker")


def run_to_end(loop: asyncio.AbstractEventLoop, main: asyncio.Task[T]) -> T:
    """Run the loop until this task has ended, whatever other tasks raise, and return its result."""
    while True:
        try:
            return loop.run_until_complete(main)
        except RuntimeError:
            if main.done():
                raise
            log.error("a handler stopped the event loop, as if it were its own; it goes on")
        except (SystemExit, KeyboardInterrupt) as error:
            if main.done():
                raise
            log.error(
                "a task or callback of a handler let %s escape into the event loop, which would have ended; it goes on",
                type(error).__name__, exc_info=error,
            )  # fmt: skip


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's where it is installed (the extra `uvloop`); None: as Python makes it."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
