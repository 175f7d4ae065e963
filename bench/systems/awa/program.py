"""awa: verbs of the bench."""

import asyncio
from argparse import Namespace
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import awa
import uvloop

import common


@dataclass
class Bench:
    n: int
    text: str
    ms: float = 0


def main() -> None:
    options = common.arguments()
    verbs = {"install": install, "enqueue": enqueue, "bulk": bulk, "work": work}
    uvloop.run(verbs[options.verb](options))


async def install(options: Namespace) -> None:
    async with awa.AsyncClient(common.url()) as client:
        await client.migrate()
        await client.install_queue_storage()


def wanted(options: Namespace) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if options.delay:
        given["run_at"] = datetime.now(UTC) + timedelta(seconds=options.delay)
    if options.priority:
        given["priority"] = 2 + options.priority
    return given


async def enqueue(options: Namespace) -> None:
    def job(n: int) -> Bench:
        return Bench(**common.payload(n, options))

    def given(n: int) -> dict[str, Any]:
        return {"queue": common.queue_of(n, options)} | wanted(options)

    if options.clients == 1:  # its synchronous side takes less CPU
        with awa.Client(common.url(), 1) as client:
            common.enqueue_blocking(options, lambda n: client.insert(job(n), **given(n)))
        return
    async with awa.AsyncClient(common.url(), options.clients) as client:
        await common.enqueue(options, lambda n: client.insert(job(n), **given(n)))


async def bulk(options: Namespace) -> None:
    async with awa.AsyncClient(common.url()) as client:
        with common.bulk(options):
            for queue, portion in common.portions(options, 10_000):
                jobs = [Bench(**common.payload(n, options)) for n in portion]
                await client.enqueue_many_copy(jobs, queue=queue, **wanted(options))


async def work(options: Namespace) -> None:
    starts = common.Starts(options)
    queues = common.queues_of(options)
    client = awa.AsyncClient(common.url(), 19 + len(queues))  # with no more connections than queues it never starts

    async def run(job: awa.Job) -> None:
        starts.started(job.args.n)
        if job.args.ms:
            await asyncio.sleep(job.args.ms / 1000)

    client.task(Bench, queue=queues[0])(run)  # found by the kind of job: it runs those of all queues
    stop = common.told_to_stop()
    with common.reporting(options, starts):
        limits = {"max_workers": options.concurrency or 1024, "claim_batch_size": 512}
        await client.start([{"name": queue} | limits for queue in queues])
        common.out(ready=True)
        await stop.wait()
        await client.shutdown()
        await client.close()


if __name__ == "__main__":
    main()
