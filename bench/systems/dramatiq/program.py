"""dramatiq on Redis: verbs of the bench."""

import os
import signal
import time
from argparse import Namespace

import threads

import common

THREADS = 8  # as its command line has it
PREFETCH = 128  # messages fetched ahead by a process
os.environ.setdefault("dramatiq_queue_prefetch", str(PREFETCH))  # read when the library is loaded

import dramatiq  # noqa: E402
from dramatiq.brokers.redis import RedisBroker  # noqa: E402


def main() -> None:
    options = common.arguments()
    {"install": install, "enqueue": enqueue, "bulk": bulk, "work": work}[options.verb](options)


def install(options: Namespace) -> None:
    """Nothing has to be there beforehand."""


def senders(options: Namespace) -> dict[str, dramatiq.Actor]:
    """An actor for each queue, for those who send only."""
    dramatiq.set_broker(RedisBroker(url=common.url()))

    def run(n: int, text: str, ms: float = 0) -> None:
        raise AssertionError("only the worker runs jobs")

    return {queue: dramatiq.actor(run, actor_name=queue, queue_name=queue) for queue in common.queues_of(options)}


def enqueue(options: Namespace) -> None:
    actors = senders(options)
    delay = None if options.delay is None else int(options.delay * 1000)

    def send(n: int) -> None:
        actors[common.queue_of(n, options)].send_with_options(kwargs=common.payload(n, options), delay=delay)

    threads.enqueue(options, send)


def bulk(options: Namespace) -> None:
    actors = senders(options)
    delay = None if options.delay is None else int(options.delay * 1000)
    with common.bulk(options):
        for queue, portion in common.portions(options, 1000):
            dramatiq.group(actors[queue].message(**common.payload(n, options)) for n in portion).run(delay=delay)


def work(options: Namespace) -> None:
    # Blocked before there are threads, so that the signal waits for sigwait() alone.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    starts = common.Starts(options)
    broker = RedisBroker(url=common.url())
    dramatiq.set_broker(broker)

    def run(n: int, text: str, ms: float = 0) -> None:
        starts.started(n)
        if ms:
            time.sleep(ms / 1000)

    for queue in common.queues_of(options):
        dramatiq.actor(run, actor_name=queue, queue_name=queue)
    worker = dramatiq.Worker(broker, worker_threads=options.concurrency or THREADS)
    with common.reporting(options, starts):
        worker.start()
        common.out(ready=True)
        signal.sigwait({signal.SIGTERM})
        worker.stop()
        broker.close()


if __name__ == "__main__":
    main()
