"""The teller: calls the app's hooks, one event after the other, so that none can hold up a job.

A coroutine function is awaited in the worker's loop, another function is called in a thread of the teller's own. A hook that
raises is logged. One that takes longer than its time is left behind, and is told nothing more until it has come back.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, cast

from pgjobs.context import JobContext
from pgjobs.hooks import Event, Hook, Hooks, Kind
from pgjobs.outcome import Outcome, failure

log = logging.getLogger("pgjobs.worker")

BOUND = 5.0  # seconds one call of a hook may take
AT_THE_END = 5.0  # seconds all that is still to be told may take when the worker stops
MOST = 10_000  # events that may wait; more are dropped, for memory is bounded too


class Teller:
    """Tells the hooks. Without hooks it does nothing and costs nothing."""

    def __init__(self, hooks: Hooks, bound: float = BOUND) -> None:
        self._hooks = hooks
        self._bound = bound
        self._waiting: asyncio.Queue[Event | None] = asyncio.Queue()
        self._behind: dict[Hook, asyncio.Future[object]] = {}  # calls that were left behind
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._telling: asyncio.Task[None] | None = None
        self._threaded = False
        self._dropped = 0
        self.worker = 0

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def tell(
        self, kind: Kind, job: JobContext | None = None, outcome: Outcome | None = None, seconds: float | None = None
    ) -> None:
        """Tell the hooks of this kind, soon. Never raises and never waits."""
        if kind not in self._hooks.by_kind:
            return
        if self._waiting.qsize() >= MOST:
            self._dropped += 1
            if self._dropped & (self._dropped - 1) == 0:  # the first, second, fourth, eighth, ...
                log.warning("hooks are too slow: %d events were not told", self._dropped)
            return
        self._waiting.put_nowait(Event(kind, self.worker, job, outcome, seconds))
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell_all(), name="pgjobs hooks")

    async def close(self) -> None:
        """Tell what is still waiting, for a bounded time, and end."""
        if self._telling is not None:
            self._waiting.put_nowait(None)
            _, late = await asyncio.wait([self._telling], timeout=AT_THE_END)
            if late:
                log.warning("hooks are too slow: %d events were not told at the end", self._waiting.qsize())
                self._telling.cancel()
                await asyncio.wait([self._telling], timeout=1)
        self._work.put(None)

    async def _tell_all(self) -> None:
        while True:
            event = await self._waiting.get()
            if event is None:
                if self._waiting.empty():
                    return
                self._waiting.put_nowait(None)  # a hook that was told meanwhile had something to say
                continue
            for hook in tuple(self._hooks.by_kind[event.kind]):
                await self._call(hook, event)

    async def _call(self, hook: Hook, event: Event) -> None:
        behind = self._behind.get(hook)
        if behind is not None and not behind.done():
            return
        self._behind.pop(hook, None)
        call = self._start(hook, event)
        await asyncio.wait([call], timeout=self._bound)
        name = getattr(hook, "__name__", repr(hook))
        if not call.done():
            log.warning(
                "the hook %s takes longer than %g s; it is told nothing more until it returns", name, self._bound
            )
            self._behind[hook] = call
            call.add_done_callback(_look)
            if isinstance(call, asyncio.Task):
                call.cancel()
            else:
                self._threaded = False  # the thread is busy; the next call gets another one
                self._work.put(None)
                self._work = SimpleQueue()
        elif call.cancelled() or (error := call.exception()) is None:
            return
        else:
            log.warning("the hook %s raised %s: %s", name, type(error).__name__, error, exc_info=error)
            if event.kind != "error":
                self.tell("error", event.job, failure(error))

    def _start(self, hook: Hook, event: Event) -> asyncio.Future[object]:
        loop = asyncio.get_running_loop()
        if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(getattr(hook, "__call__", None)):  # noqa: B004
            return loop.create_task(cast(Coroutine[Any, Any, object], hook(event)), name="pgjobs hook")
        called: asyncio.Future[object] = loop.create_future()

        def done(result: object, error: BaseException | None) -> None:
            if called.done():
                return
            if error is None:
                called.set_result(result)
            else:
                # A future takes no StopIteration, and what is no Exception would end the loop.
                fit = isinstance(error, Exception) and not isinstance(error, StopIteration)
                called.set_exception(error if fit else RuntimeError(repr(error)))

        def work() -> None:
            result, error = None, None
            try:
                result = hook(event)
            except BaseException as raised:
                error = raised
            with suppress(RuntimeError):  # the loop is gone
                loop.call_soon_threadsafe(done, result, error)

        if not self._threaded:
            self._threaded = True
            threading.Thread(target=_serve, args=(self._work,), name="pgjobs hooks", daemon=True).start()
        self._work.put(work)
        return called


def _serve(work: SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := work.get()) is not None:
        call()


def _look(call: asyncio.Future[object]) -> None:
    """Look at what came of a call that was left behind, so that nothing says that nobody did."""
    if not call.cancelled():
        call.exception()
