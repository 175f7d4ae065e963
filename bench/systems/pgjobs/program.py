"""What is measured of pgjobs: see bench/README.md for the verbs."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import psycopg

import common
from bench import pgbench

# The best that we document, in one place: see bench/README.md.
CONCURRENCY = {"async": 500, "thread": 100, "process": 64}


def main() -> None:
    """Do what the verb says."""
    options = common.arguments()
    if options.verb == "install":
        from pgjobs import schema

        schema.migrate(common.url())
        return
    # Before the tasks are imported, here and in the processes that run them.
    os.environ["BENCH_EXECUTOR"] = options.executor or "async"
    os.environ["BENCH_KEEP"] = "history" if options.keep else "nothing"
    if options.verb == "work":
        work(options)
    elif options.verb == "bulk":
        bulk(options)
    elif options.how == "pgbench":
        enqueue_by_pgbench(options)
    elif options.clients == 1:
        enqueue_blocking(options)
    else:
        run(enqueue(options))


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run in uvloop where it is installed, as `app.run_worker()` does."""
    if importlib.util.find_spec("uvloop"):
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main)
    else:
        asyncio.run(main)


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """What is said of the jobs beside their queue."""
    given = {"delay": options.delay, "priority": options.priority}
    return {name: value for name, value in given.items() if value is not None}


def enqueue_blocking(options: argparse.Namespace) -> None:
    """One client that blocks, on the app's own connection."""
    from bench.systems.pgjobs.tasks import app, noop

    if options.queues or settings(options):
        by_queue = {name: noop.options(queue=name, **settings(options)) for name in common.queues_of(options)}
        common.enqueue_blocking(
            options, lambda n: by_queue[common.queue_of(n, options)].enqueue(**common.payload(n, options))
        )
    else:
        common.enqueue_blocking(options, lambda n: noop.enqueue(**common.payload(n, options)))
    app.close()


async def enqueue(options: argparse.Namespace) -> None:
    """Several clients in one event loop, each with a connection in autocommit mode."""
    from bench.systems.pgjobs.tasks import noop

    async with AsyncExitStack() as stack:
        by_client = []
        for _ in range(options.clients):
            db = await stack.enter_async_context(await psycopg.AsyncConnection.connect(common.url(), autocommit=True))
            by_client.append(
                {name: noop.options(tx=db, queue=name, **settings(options)) for name in common.queues_of(options)}
            )

        async def send(n: int) -> None:
            bound = by_client[n % options.clients][common.queue_of(n, options)]
            await bound.aenqueue(**common.payload(n, options))

        await common.enqueue(options, send)


def enqueue_by_pgbench(options: argparse.Namespace) -> None:
    """Several clients in plain SQL: the public function."""
    text = json.dumps(common.payload(0, options))
    script = f"select pgjobs.enqueue('noop', '{text}', queue => '{common.QUEUE}');"
    seconds, cpu = pgbench.run(common.url(), script, options.count, options.clients)
    common.out(count=options.count, seconds=seconds, cpu=cpu)


# A role that may write jobs, and may not use the sequence of their ids beforehand: COPY is not for it.
CALLER = "bench_pgjobs_caller"
MAKE_CALLER = f"""
do $$ begin create role {CALLER}; exception when duplicate_object then null; end $$;
grant usage on schema pgjobs to {CALLER};
grant select, insert on pgjobs.jobs to {CALLER};
"""


def bulk(options: argparse.Namespace) -> None:
    """All in one call: by COPY, or by the array function as a role that may not copy."""
    if options.how == "function":
        with psycopg.connect(common.url(), autocommit=True) as db:
            db.execute(MAKE_CALLER)
        os.environ["BENCH_URL"] = f"{common.url()}?options=-c%20role%3D{CALLER}"
    from bench.systems.pgjobs.tasks import app, noop

    by_queue = {name: noop.options(queue=name, **settings(options)) for name in common.queues_of(options)}
    with common.bulk(options):
        app.enqueue_many(
            by_queue[common.queue_of(n, options)].spec(**common.payload(n, options)) for n in range(options.count)
        )
    app.close()


def work(options: argparse.Namespace) -> None:
    """A worker in this process, until SIGTERM."""
    executor = options.executor or "async"
    # Records in a file: hours of starts do not grow this process, and the processes of handlers can write it too.
    starts: common.Counter = common.Starts(options)
    if executor == "process" or options.stamps:
        starts = common.SharedStarts()
        os.environ["BENCH_STARTS"] = starts.path
    from bench.systems.pgjobs import tasks

    if "BENCH_STARTS" not in os.environ:
        tasks.starts = starts
    log = logging.getLogger("pgjobs.worker")
    log.addHandler(Ready(logging.INFO))
    log.setLevel(logging.INFO)
    log.propagate = False
    with common.reporting(options, starts):
        concurrency = options.concurrency or CONCURRENCY[executor]
        tasks.app.run_worker(common.queues_of(options), concurrency=concurrency, grace=5, **more(options))
    if isinstance(starts, common.SharedStarts):
        starts.close()


class Ready(logging.Handler):
    """Tells the harness when the worker has registered, just before its first claim: it says so in its log."""

    def emit(self, record: logging.LogRecord) -> None:
        if " works on " in record.getMessage():
            common.out(ready=True)
        elif record.levelno >= logging.ERROR:
            print(record.getMessage(), file=sys.stderr, flush=True)


def more(options: argparse.Namespace) -> dict[str, Any]:
    """Settings of a worker that only pgjobs is asked for."""
    return {} if options.lease is None else {"lease": options.lease}


if __name__ == "__main__":
    main()
