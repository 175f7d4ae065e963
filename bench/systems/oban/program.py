"""Oban for Python: verbs of the bench."""

import asyncio
import time
from argparse import Namespace

import uvloop
from oban import Job, Oban, worker
from oban.schema import install as install_schema
from psycopg_pool import AsyncConnectionPool

import common


def main() -> None:
    options = common.arguments()
    verbs = {"install": install, "enqueue": enqueue, "bulk": bulk, "work": work}
    uvloop.run(verbs[options.verb](options))


def pool(connections: int) -> AsyncConnectionPool:
    return AsyncConnectionPool(common.url(), min_size=connections, max_size=connections, open=False)


async def install(options: Namespace) -> None:
    async with pool(1) as connections:
        await install_schema(connections)


def job(n: int, options: Namespace) -> Job:
    given = {"schedule_in": options.delay} if options.delay else {}
    if options.priority:
        given["priority"] = options.priority
    return Job("__main__.Bench", args=common.payload(n, options), queue=common.queue_of(n, options), **given)


async def enqueue(options: Namespace) -> None:
    async with pool(options.clients) as connections:
        oban = Oban(pool=connections)
        await common.enqueue(options, lambda n: oban.enqueue(job(n, options)))


async def bulk(options: Namespace) -> None:
    async with pool(1) as connections:
        oban = Oban(pool=connections)
        with common.bulk(options):
            for _, portion in common.portions(options, 1000):
                await oban.enqueue_many(job(n, options) for n in portion)


async def work(options: Namespace) -> None:
    starts = common.Starts(options)
    in_thread = options.executor == "thread"

    def run(n: int, ms: float) -> None:
        starts.started(n)
        if ms:
            time.sleep(ms / 1000)

    class Bench:
        async def process(self, job: Job) -> None:
            n, ms = job.args["n"], job.args.get("ms", 0)
            if in_thread:
                await asyncio.to_thread(run, n, ms)
                return
            starts.started(n)
            if ms:
                await asyncio.sleep(ms / 1000)

    Bench.__qualname__ = "Bench"
    worker()(Bench)
    queues = dict.fromkeys(common.queues_of(options), options.concurrency or 200)
    stop = common.told_to_stop()
    with common.reporting(options, starts):
        async with pool(10) as connections, Oban(pool=connections, queues=queues):
            common.out(ready=True)
            await stop.wait()


if __name__ == "__main__":
    main()
