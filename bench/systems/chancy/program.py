"""Chancy: verbs of the bench."""

import asyncio
import logging
import os
import time
from argparse import Namespace
from datetime import UTC, datetime, timedelta

import uvloop
from chancy import Chancy, Job, Queue, Worker
from chancy.plugins.leadership import Leadership
from chancy.plugins.pruner import Pruner
from chancy.plugins.recovery import Recovery

import common

EXECUTORS = {"async": Chancy.Executor.Async, "thread": Chancy.Executor.Threaded, "process": Chancy.Executor.Process}
FUNCTIONS = {"async": "__main__.run_async", "thread": "__main__.run", "process": "__main__.run"}
CONCURRENCY = {"async": 1000, "thread": 100, "process": 4}
SHARED = "BENCH_STARTS"  # the file where child processes count their starts
starts: common.Counter
if SHARED in os.environ:
    starts = common.SharedStarts(os.environ[SHARED])


async def run_async(n: int, text: str, ms: float = 0) -> None:
    starts.started(n)
    if ms:
        await asyncio.sleep(ms / 1000)


def run(n: int, text: str, ms: float = 0) -> None:
    starts.started(n)
    if ms:
        time.sleep(ms / 1000)


def main() -> None:
    options = common.arguments()
    verbs = {"install": install, "enqueue": enqueue, "bulk": bulk, "work": work}
    uvloop.run(verbs[options.verb](options))


def application(connections: int) -> Chancy:
    return Chancy(
        common.url(),
        min_connection_pool_size=connections,
        max_connection_pool_size=connections,
        log=logging.getLogger("chancy"),
        plugins=[Leadership(), Pruner(), Recovery()],  # what keeps jobs safe; metrics and workflows are not used here
        no_default_plugins=True,
    )


async def install(options: Namespace) -> None:
    async with application(1) as chancy:
        await chancy.migrate()
        # Every worker takes this queue too; of the default executor it would start processes that stay idle.
        await chancy.declare(Queue("default", executor=Chancy.Executor.Async))


def job(n: int, options: Namespace) -> Job:
    given = {"scheduled_at": datetime.now(UTC) + timedelta(seconds=options.delay)} if options.delay else {}
    if options.priority:
        given["priority"] = -options.priority
    function = FUNCTIONS[options.executor or "async"]
    return Job(func=function, kwargs=common.payload(n, options), queue=common.queue_of(n, options), **given)


async def enqueue(options: Namespace) -> None:
    if options.clients == 1:  # its synchronous side takes less CPU
        with application(1) as chancy:
            common.enqueue_blocking(options, lambda n: chancy.sync_push(job(n, options)))
        return
    async with application(options.clients) as chancy:
        await common.enqueue(options, lambda n: chancy.push(job(n, options)))


async def bulk(options: Namespace) -> None:
    async with application(1) as chancy:
        with common.bulk(options):
            async for _ in chancy.push_many([job(n, options) for n in range(options.count)]):
                pass


async def work(options: Namespace) -> None:
    global starts
    executor = options.executor or "async"
    if executor == "process":
        starts = common.SharedStarts()
        os.environ[SHARED] = starts.path
    else:
        starts = common.Starts(options)
    concurrency = options.concurrency or CONCURRENCY[executor]
    stop = common.told_to_stop()
    with common.reporting(options, starts):
        async with application(10) as chancy:
            for name in common.queues_of(options):
                queue = Queue(
                    name,
                    concurrency=concurrency,
                    executor=EXECUTORS[executor],
                    executor_options={"maximum_jobs_per_worker": 10_000} if executor == "process" else {},
                    eager_polling=True,
                )
                await chancy.declare(queue, upsert=True)
            async with Worker(chancy, register_signal_handlers=False):
                common.out(ready=True)
                await stop.wait()
    if isinstance(starts, common.SharedStarts):
        starts.close()


if __name__ == "__main__":
    main()
