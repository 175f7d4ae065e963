"""Runs jobs in this process until nothing runnable is left: by a real worker, or as a stand-in does."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pgjobs.app import App
from pgjobs.checks import as_timedelta
from pgjobs.errors import ConfigurationError
from pgjobs.testing.failures import raise_failures
from pgjobs.testing.running import Blocking, InLoop
from pgjobs.testing.stand_in import in_place_of
from pgjobs.worker.settler import Entry, Outbox


def drain(
    app: App,
    queues: Sequence[str] | None = None,
    *,
    timeout: timedelta | float = 30,
    raise_on_failure: bool = False,
    **options: Any,
) -> Counter[str]:
    """Run the app's jobs in this process until nothing runnable is left.

    What waits for its time (a delay, a retry, a snooze) is not runnable: move the clock and drain again.

    Arguments: queues, by default all in which a job is due; timeout, seconds or a timedelta, after which it gives up;
    raise_on_failure, whether failed attempts are raised at the end; options of the worker, as in `WorkerOptions`.
    Returns how many outcomes of each kind there were: done, failed, snoozed, cancelled.
    Raises JobsFailed, TimeoutError, and inside an event loop, which it would block, ConfigurationError.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise ConfigurationError("drain(app) would block this event loop: use `await adrain(app)`.")
    until = time.monotonic() + as_timedelta(timeout).total_seconds()
    memory = in_place_of(app)
    if memory is None:
        return asyncio.run(_work(app, queues, until, raise_on_failure, options))
    entries = []
    blocking = Blocking(memory.tasks)
    while job := memory.take_due(queues):
        entries.append(memory.put_outcome(job, blocking.run(job, until))[0])
        _check(until)
    return _summary(entries, raise_on_failure)


async def adrain(
    app: App,
    queues: Sequence[str] | None = None,
    *,
    timeout: timedelta | float = 30,
    raise_on_failure: bool = False,
    **options: Any,
) -> Counter[str]:
    """The same as `drain`, for callers in an event loop."""
    until = time.monotonic() + as_timedelta(timeout).total_seconds()
    memory = in_place_of(app)
    if memory is None:
        return await _work(app, queues, until, raise_on_failure, options)
    entries = []
    async with InLoop(memory.tasks) as loop:
        while job := memory.take_due(queues):
            entries.append(memory.put_outcome(job, await loop.run(job, until))[0])
            _check(until)
    return _summary(entries, raise_on_failure)


async def _work(
    app: App, queues: Sequence[str] | None, until: float, raise_on_failure: bool, options: dict[str, Any]
) -> Counter[str]:
    """Let real workers drain, one after the other: a handler may enqueue into a queue that the last did not work on."""
    entries: list[Entry] = []
    while due := await asyncio.to_thread(_due, app, queues):
        worker = app.make_worker(due, drain=True, **options)
        settled = _remembered(worker._outbox)
        running = asyncio.create_task(worker.run(), name="pgjobs drain")
        try:
            await asyncio.wait([running], timeout=max(0.0, until - time.monotonic()))
        finally:
            if not running.done():
                worker.stop()
                worker.stop()  # at once: what still runs is given back
                await running
        await running
        entries += settled
        _check(until)
        if not settled:
            break  # what is due cannot be had: somebody has it locked
    return _summary(entries, raise_on_failure)


def _due(app: App, queues: Sequence[str] | None) -> list[str]:
    with app.client() as client:
        overview = client.queue_overview()
    return [q.queue for q in overview if q.ready and not q.paused and (queues is None or q.queue in queues)]


def _remembered(outbox: Outbox) -> list[Entry]:
    """Return a list that will hold all that goes through an outbox; an outcome that is refused is replaced in its entry."""
    entries: list[Entry] = []
    put = outbox.put

    def put_and_remember(entry: Entry) -> None:
        entries.append(entry)
        put(entry)

    outbox.put = put_and_remember  # type: ignore[method-assign]
    return entries


def _check(until: float) -> None:
    if time.monotonic() >= until:
        raise TimeoutError("There was still something to run when the time was over: give the drain a longer timeout.")


def _summary(entries: Sequence[Entry], raise_on_failure: bool) -> Counter[str]:
    if raise_on_failure:
        raise_failures(entries)
    return Counter(type(entry.outcome).__name__.lower() for entry in entries)
