"""Celery on Redis: verbs of the bench."""

import os
import sys
import time
from argparse import Namespace

import threads
from celery import Celery, Task, group, signals

import common

PROCESSES = 2
PREFETCH = 64  # messages fetched ahead for each process


def main() -> None:
    options = common.arguments()
    {"install": install, "enqueue": enqueue, "bulk": bulk, "work": work}[options.verb](options)


def application(options: Namespace) -> Celery:
    app = Celery("bench", broker=common.url(), backend=common.url() if options.keep else None)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_pool_limit=getattr(options, "clients", 1) + 1,
        task_ignore_result=not options.keep,
        worker_prefetch_multiplier=PREFETCH,
        worker_redirect_stdouts=False,
    )
    return app


def install(options: Namespace) -> None:
    """Nothing has to be there beforehand."""


def task_to_send(app: Celery) -> Task:
    """The task, for those who send only."""

    def run(n: int, text: str, ms: float = 0) -> None:
        raise AssertionError("only the worker runs jobs")

    task: Task = app.task(name="bench")(run)
    return task


def sending(options: Namespace) -> dict[str, object]:
    given = {"countdown": options.delay, "priority": options.priority}
    return {name: value for name, value in given.items() if value is not None}


def enqueue(options: Namespace) -> None:
    task = task_to_send(application(options))
    given = sending(options)

    def send(n: int) -> None:
        task.apply_async(kwargs=common.payload(n, options), queue=common.queue_of(n, options), **given)

    threads.enqueue(options, send)


def bulk(options: Namespace) -> None:
    task = task_to_send(application(options))
    given = sending(options)
    with common.bulk(options):
        for queue, portion in common.portions(options, 1000):
            group(task.signature(kwargs=common.payload(n, options)) for n in portion).apply_async(queue=queue, **given)


def keep_stdout() -> None:
    """Leave stdout to what the harness reads: Celery says there that it shuts down, and that goes to stderr now."""
    ours = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(ours, "w")


def work(options: Namespace) -> None:
    keep_stdout()
    app = application(options)
    starts = common.SharedStarts()

    def run(n: int, text: str, ms: float = 0) -> None:
        starts.started(n)
        if ms:
            time.sleep(ms / 1000)

    app.task(name="bench")(run)

    def ready(**_: object) -> None:
        common.out(ready=True)

    signals.worker_ready.connect(ready, weak=False)

    # Many jobs at once that wait are threads: a process for each would be the wrong way to compare.
    pool = options.executor or ("threads" if options.concurrency else "prefork")
    worker = app.Worker(
        pool=pool,
        concurrency=options.concurrency or PROCESSES,
        queues=common.queues_of(options),
        loglevel="ERROR",
        quiet=True,  # no banner on stdout
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    with common.reporting(options, starts):
        worker.start()
    starts.close()
    sys.exit(worker.exitcode)


if __name__ == "__main__":
    main()
