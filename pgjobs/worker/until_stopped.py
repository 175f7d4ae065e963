"""A worker that has its process to itself: with an event loop of its own, until a signal stops it."""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from pgjobs.ending import forks_end_by_signals
from pgjobs.errors import ConfigurationError, WorkerFailed
from pgjobs.worker.event_loop import loop_factory, run_to_end
from pgjobs.worker.garbage import seldom_collected
from pgjobs.worker.worker import Worker


def run_until_stopped(worker: Worker) -> None:
    """Run a worker in this process until SIGTERM or SIGINT; a second signal stops it at once."""

    async def main() -> None:
        try:
            await worker.run()
        except asyncio.CancelledError:
            raise WorkerFailed(
                f"Worker {worker.id} has ended because a handler cancelled it, as if its event loop were the handler's own."
            ) from None
        # A handler may have left asyncio.to_thread() at something that never ends; asyncio.run would wait for it for ever.
        loop.set_default_executor(ThreadPoolExecutor(max_workers=1))

    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise ConfigurationError("run_worker blocks, and here an event loop runs: use `async with app.worker()`.")
    worker.alone = True
    with seldom_collected(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        loop = runner.get_loop()
        # Before anything runs: a KeyboardInterrupt that is raised later is a handler's, and not somebody's ^C.
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, worker.stop)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise ConfigurationError(
                "run_worker needs the main thread; elsewhere use `async with app.worker()`."
            ) from error
        forks_end_by_signals()
        run_to_end(loop, loop.create_task(main(), name="pgjobs worker"))
