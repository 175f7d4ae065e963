"""pgqueuer: verbs of the bench."""

import asyncio
import json
import time
from argparse import Namespace
from datetime import timedelta
from typing import Any

import asyncpg
import uvloop
from pgqueuer import PgQueuer, Queries
from pgqueuer.models import Job

import common


def main() -> None:
    options = common.arguments()
    verbs = {"install": install, "enqueue": enqueue, "bulk": bulk, "work": work}
    uvloop.run(verbs[options.verb](options))


async def install(options: Namespace) -> None:
    connection = await asyncpg.connect(common.url())
    await Queries.from_asyncpg_connection(connection).install()
    await connection.close()


def packed(n: int, options: Namespace) -> bytes:
    return json.dumps(common.payload(n, options), separators=(",", ":")).encode()


async def enqueue(options: Namespace) -> None:
    connections = [await asyncpg.connect(common.url()) for _ in range(options.clients)]
    clients = [Queries.from_asyncpg_connection(connection) for connection in connections]
    priority = -(options.priority or 0)
    delay = timedelta(seconds=options.delay) if options.delay else None

    async def send(n: int) -> None:
        queue = common.queue_of(n, options)
        await clients[n % options.clients].enqueue(queue, packed(n, options), priority, delay)

    await common.enqueue(options, send)


async def bulk(options: Namespace) -> None:
    queries = Queries.from_asyncpg_connection(await asyncpg.connect(common.url()))
    delay = timedelta(seconds=options.delay) if options.delay else None
    with common.bulk(options):
        for queue, portion in common.portions(options, 1000):
            size = len(portion)
            payloads = [packed(n, options) for n in portion]
            await queries.enqueue([queue] * size, payloads, [-(options.priority or 0)] * size, [delay] * size)


async def work(options: Namespace) -> None:
    pgq = PgQueuer.from_asyncpg_connection(await asyncpg.connect(common.url()))
    starts = common.Starts(options)

    def run(job: dict[str, Any]) -> None:
        starts.started(job["n"])
        if "ms" in job:
            time.sleep(job["ms"] / 1000)

    async def run_in_thread(job: Job) -> None:
        await asyncio.to_thread(run, json.loads(job.payload))

    async def run_async(job: Job) -> None:
        payload = json.loads(job.payload)
        starts.started(payload["n"])
        if "ms" in payload:
            await asyncio.sleep(payload["ms"] / 1000)

    for queue in common.queues_of(options):
        pgq.entrypoint(queue)(run_in_thread if options.executor == "thread" else run_async)
    limits = {"batch_size": 1000}
    if options.concurrency:  # at least two batches, says pgqueuer
        limits = {"batch_size": max(1, options.concurrency // 2), "max_concurrent_tasks": max(2, options.concurrency)}
    stop = common.told_to_stop()
    with common.reporting(options, starts):
        working = asyncio.create_task(pgq.run(**limits))
        common.out(ready=True)
        await asyncio.wait({working, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
        pgq.shutdown.set()
        await working


if __name__ == "__main__":
    main()
