"""The bare database: INSERT, COPY, and claim and delete in batches, without a queue around them."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import psycopg

import common
from bench import pgbench

COLUMNS = "queue, task, payload"
VALUES = f"'{common.QUEUE}', 'noop'"
INSERT = f"insert into bare.jobs ({COLUMNS}) values ({VALUES}, %s)"
# The same statement with a NOTIFY in its transaction: still one round trip.
INSERT_NOTIFY = f"with i as ({INSERT} returning id) select pg_notify('bench', '') from i"
UNNEST = f"insert into bare.jobs ({COLUMNS}) select {VALUES}, p from unnest(%s::jsonb[]) p"
CLAIM = f"""
with picked as materialized (
    select id from bare.jobs
    where queue = '{common.QUEUE}' and status = 'ready' and available_at <= clock_timestamp()
    order by rank, available_at, id limit {{batch}} for update skip locked
), claimed as (
    update bare.jobs j set status = 'running', worker = 1, claimed_at = clock_timestamp(), run = run + 1
    from picked where j.id = picked.id returning j.id, j.run, j.payload
) """
DELETE = "delete from bare.jobs where id = any({ids})"


def main() -> None:
    """Do what the verb says."""
    options = common.arguments()
    if options.verb == "install":
        install()
    elif options.verb == "work":
        work(options)
    elif options.verb == "bulk":
        bulk(options)
    elif (options.how or "").startswith("pgbench"):
        enqueue_by_pgbench(options)
    elif options.clients == 1:
        enqueue_blocking(options)
    else:
        asyncio.run(enqueue(options))


def install() -> None:
    """Make the table."""
    from pgjobs import schema

    schema.migrate(common.url())
    with psycopg.connect(common.url(), autocommit=True) as db:
        db.execute("create schema bare")
        db.execute("create table bare.jobs (like pgjobs.jobs including all)")


def insert(options: argparse.Namespace) -> str:
    """The statement, by what was asked for."""
    return INSERT_NOTIFY if (options.how or "").endswith("notify") else INSERT


def enqueue_blocking(options: argparse.Namespace) -> None:
    """One client that blocks."""
    statement = insert(options)
    with psycopg.connect(common.url(), autocommit=True) as db:
        common.enqueue_blocking(
            options, lambda n: db.execute(statement, (json.dumps(common.payload(n, options)),), prepare=True)
        )


async def enqueue(options: argparse.Namespace) -> None:
    """Several clients in one event loop, each with its connection."""
    statement = insert(options)
    async with AsyncExitStack() as stack:
        dbs = [
            await stack.enter_async_context(await psycopg.AsyncConnection.connect(common.url(), autocommit=True))
            for _ in range(options.clients)
        ]

        async def send(n: int) -> None:
            text = json.dumps(common.payload(n, options))
            await dbs[n % options.clients].execute(statement, (text,), prepare=True)

        await common.enqueue(options, send)


def enqueue_by_pgbench(options: argparse.Namespace) -> None:
    """Clients without Python."""
    script = insert(options).replace("%s", "'" + json.dumps(common.payload(0, options)) + "'") + ";"
    seconds, cpu = pgbench.run(common.url(), script, options.count, options.clients)
    common.out(count=options.count, seconds=seconds, cpu=cpu)


def bulk(options: argparse.Namespace) -> None:
    """COPY, or INSERT from an array: all in one, or by thousands, each its own commit."""
    payloads = (json.dumps(common.payload(n, options)) for n in range(options.count))
    with psycopg.connect(common.url(), autocommit=True) as db, common.bulk(options):
        if options.how in (None, "copy"):
            with db.cursor().copy(f"copy bare.jobs ({COLUMNS}) from stdin") as copy:
                rows = (f"{common.QUEUE}\tnoop\t{payload}\n" for payload in payloads)
                for portion in portions(rows, 1000):
                    copy.write("".join(portion))
        else:
            for portion in portions(payloads, 1000 if options.how == "unnest-1000" else options.count):
                db.execute(UNNEST, (portion,), prepare=True)


def portions(items: Iterator[str], size: int) -> Iterator[list[str]]:
    """So many at a time."""
    while portion := list(itertools.islice(items, size)):
        yield portion


class Stop:
    """Told by SIGTERM, and to the other processes by an event; a signal handler may touch no lock."""

    def __init__(self) -> None:
        self.told = False
        signal.signal(signal.SIGTERM, self._tell)

    def _tell(self, *_: object) -> None:
        self.told = True

    def is_set(self) -> bool:
        """Whether to stop."""
        return self.told


def work(options: argparse.Namespace) -> None:
    """Claim and delete until told to stop."""
    stop = Stop()
    loop, _, size = (options.executor or "psycopg-1000").partition("-")
    batch = int(size)
    if loop == "pgbench":
        work_by_pgbench(options, batch)
        while not stop.is_set():
            time.sleep(0.02)
    elif options.processes == 1:
        starts = common.Starts(options)
        with common.reporting(options, starts):
            common.out(ready=True)
            claim_and_delete(batch, stop, starts)
    else:
        shared = common.SharedStarts()
        spawn = multiprocessing.get_context("spawn")
        stopped = spawn.Event()
        others = [
            spawn.Process(target=another, args=(batch, stopped, shared.path)) for _ in range(1, options.processes)
        ]
        for process in others:
            process.start()
        with common.reporting(options, shared):
            common.out(ready=True)
            claim_and_delete(batch, stop, shared)
            stopped.set()
            for process in others:
                process.join()
        shared.close()


def another(batch: int, stopped: Any, path: str) -> None:
    """A further process of the same worker."""
    claim_and_delete(batch, stopped, common.SharedStarts(path))


def claim_and_delete(batch: int, stop: Any, starts: common.Counter) -> None:
    """One connection's loop. Each job of a batch counts as started when the batch has been claimed."""
    claim = CLAIM.format(batch=batch) + "select id, payload from claimed"
    delete = DELETE.format(ids="%s")
    with psycopg.connect(common.url(), autocommit=True) as db:
        db.execute("listen bench")
        while not stop.is_set():
            jobs = db.execute(claim, prepare=True).fetchall()
            if not jobs:
                for _ in db.notifies(timeout=0.1, stop_after=1):
                    pass
                continue
            for _, payload in jobs:
                starts.started(payload["n"])
            db.execute(delete, ([id for id, _ in jobs],), prepare=True)


def work_by_pgbench(options: argparse.Namespace, batch: int) -> None:
    """As many transactions as what is there needs, and again for what clients skipped because others had locked it."""
    common.out(ready=True)
    ids = "select coalesce(array_agg(id), '{}') as ids from claimed \\gset\n"
    script = CLAIM.format(batch=batch).strip() + " " + ids + DELETE.format(ids=":ids::bigint[]") + ";\n"
    seconds = 0.0  # as the load generator counts them: without its start
    with psycopg.connect(common.url(), autocommit=True) as db:
        [(jobs,)] = left = db.execute("select count(*) from bare.jobs").fetchall()
        while rows := left[0][0]:
            turns = -(-rows // batch // options.processes) * options.processes
            seconds += pgbench.run(common.url(), script, turns, options.processes)[0]
            left = db.execute("select count(*) from bare.jobs").fetchall()
    last = time.monotonic()
    common.out(executed=jobs, first=last - seconds, last=last)


if __name__ == "__main__":
    main()
