"""Clients that are threads, for libraries that block."""

import array
import threading
import time
from argparse import Namespace
from collections.abc import Callable

import common


def enqueue(options: Namespace, send: Callable[[int], object]) -> None:
    """Send jobs one by one by `--clients` threads, and say how long it took.

    With a rate job n is due at n / rate, whoever sends it; a late one is sent at once.
    """
    called, committed = (array.array("d", bytes(8 * options.count)) for _ in range(2))
    failures: list[BaseException] = []
    begin, cpu = time.monotonic(), time.process_time()

    def client(number: int) -> None:
        try:
            for n in range(number, options.count, options.clients):
                if options.rate and (ahead := begin + n / options.rate - time.monotonic()) > 0:
                    time.sleep(ahead)
                called[n] = time.monotonic()
                send(n)
                committed[n] = time.monotonic()
        except BaseException as failure:
            failures.append(failure)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(options.clients)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    if failures:
        raise failures[0]
    common.sent(options, begin, cpu, called, committed)
