"""procrastinate: verbs of the bench."""

import asyncio
import time
from argparse import Namespace

import uvloop
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.jobs import JobDeferrer

import common


def main() -> None:
    options = common.arguments()
    verbs = {"install": install, "enqueue": enqueue, "bulk": bulk, "work": work}
    uvloop.run(verbs[options.verb](options))


def application(connections: int) -> App:
    return App(connector=PsycopgConnector(conninfo=common.url(), min_size=connections, max_size=connections))


async def install(options: Namespace) -> None:
    app = application(1)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


def deferrer(app: App, queue: str, options: Namespace) -> JobDeferrer:
    given = {"schedule_in": {"seconds": options.delay}} if options.delay else {}
    if options.priority:
        given["priority"] = -options.priority
    return app.configure_task("bench", queue=queue, allow_unknown=True, **given)


async def enqueue(options: Namespace) -> None:
    if options.clients == 1:  # its synchronous side takes less CPU
        with App(connector=SyncPsycopgConnector(conninfo=common.url(), min_size=1, max_size=1)).open() as app:
            common.enqueue_blocking(
                options,
                lambda n: deferrer(app, common.queue_of(n, options), options).defer(**common.payload(n, options)),
            )
        return
    app = application(options.clients)
    async with app.open_async():

        async def send(n: int) -> None:
            queue = common.queue_of(n, options)
            await deferrer(app, queue, options).defer_async(**common.payload(n, options))

        await common.enqueue(options, send)


async def bulk(options: Namespace) -> None:
    app = application(1)
    async with app.open_async():
        with common.bulk(options):
            for queue, portion in common.portions(options, 1000):
                jobs = [common.payload(n, options) for n in portion]
                await deferrer(app, queue, options).batch_defer_async(*jobs)


async def work(options: Namespace) -> None:
    concurrency = options.concurrency or 20
    app = application(max(10, concurrency // 2))
    starts = common.Starts(options)

    async def run_async(n: int, text: str, ms: float = 0) -> None:
        starts.started(n)
        if ms:
            await asyncio.sleep(ms / 1000)

    def run_in_thread(n: int, text: str, ms: float = 0) -> None:
        starts.started(n)
        if ms:
            time.sleep(ms / 1000)

    app.task(name="bench")(run_in_thread if options.executor == "thread" else run_async)
    with common.reporting(options, starts):
        async with app.open_async():
            common.out(ready=True)
            await app.run_worker_async(
                queues=common.queues_of(options),
                concurrency=concurrency,
                delete_jobs="never" if options.keep else "always",
            )


if __name__ == "__main__":
    main()
