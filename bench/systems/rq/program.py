"""rq on Redis: verbs of the bench."""

import importlib
import time
from argparse import Namespace

import threads
from redis import Redis
from rq import Queue, SimpleWorker, Worker

import common

HANDLER = "program.run"  # a worker imports it by this name


def main() -> None:
    options = common.arguments()
    {"install": install, "enqueue": enqueue, "bulk": bulk, "work": work}[options.verb](options)


def install(options: Namespace) -> None:
    """Nothing has to be there beforehand."""


def queues(options: Namespace) -> dict[str, Queue]:
    connection = Redis.from_url(common.url())
    return {name: Queue(name, connection=connection) for name in common.queues_of(options)}


def keeping(options: Namespace) -> int | None:
    """For how long a finished job and its result stay: not at all, or as long as rq keeps them by default."""
    return None if options.keep else 0


def enqueue(options: Namespace) -> None:
    known, ttl = queues(options), keeping(options)

    def send(n: int) -> None:
        known[common.queue_of(n, options)].enqueue(HANDLER, kwargs=common.payload(n, options), result_ttl=ttl)

    threads.enqueue(options, send)


def bulk(options: Namespace) -> None:
    known, ttl = queues(options), keeping(options)
    with common.bulk(options):
        for queue, portion in common.portions(options, 1000):
            known[queue].enqueue_many(
                [Queue.prepare_data(HANDLER, kwargs=common.payload(n, options), result_ttl=ttl) for n in portion]
            )


starts: common.SharedStarts  # of this worker; a forked child has the same file


def run(n: int, text: str, ms: float = 0) -> None:
    starts.started(n)
    if ms:
        time.sleep(ms / 1000)


def work(options: Namespace) -> None:
    global starts
    starts = common.SharedStarts()
    kind = Worker if options.executor == "fork" else SimpleWorker
    worker = kind(list(queues(options).values()), log_job_description=False)
    with common.reporting(options, starts):
        common.out(ready=True)
        worker.work(logging_level="ERROR")
    starts.close()


if __name__ == "__main__":
    # Under the name by which the worker imports it, so that there is one count.
    importlib.import_module("program").main()
