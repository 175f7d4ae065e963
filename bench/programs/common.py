"""What the Python programs share: arguments, clock, pacing, printing. Only the standard library; it knows no system."""

import argparse
import array
import asyncio
import json
import logging
import os
import resource
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

QUEUE = "bench"
_RECORD = struct.Struct("=qd")  # number of the job, time of its start


def url() -> str:
    """The server to use, as the harness gives it."""
    return os.environ["BENCH_URL"]


def arguments() -> argparse.Namespace:
    """The verb and its options; logging of libraries goes to stderr from now on, errors only."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("install")
    for verb in ("enqueue", "bulk"):
        fill = verbs.add_parser(verb)
        fill.add_argument("--count", type=int, required=True)
        fill.add_argument("--clients", type=int, default=1)
        fill.add_argument("--rate", type=float)
        fill.add_argument("--ms", type=float)
        fill.add_argument("--mix", action="store_true", help="jobs that take differently long, by their number")
        fill.add_argument("--delay", type=float)
        fill.add_argument("--priority", type=int, help="so much less urgent than by default")
        fill.add_argument("--text", type=int, default=200, metavar="BYTES")
        fill.add_argument("--how", help="one of several ways to enqueue, where a system has them")
        _add_shared(fill)
    work = verbs.add_parser("work")
    work.add_argument("--concurrency", type=int)
    work.add_argument("--processes", type=int, default=1)
    work.add_argument("--lease", type=float, help="seconds, where a system has such a thing")
    _add_shared(work)
    return parser.parse_args()


def payload(n: int, options: argparse.Namespace) -> dict[str, Any]:
    """The payload of job n: `--text` bytes of JSON in all, as compact JSON has it."""
    # By counting, not by trying: this is inside what is measured.
    room = options.text - len('{"n":,"text":""}') - len(str(n))
    ms = mixed(n) if options.mix else options.ms
    if ms is None:
        return {"n": n, "text": "x" * room}
    return {"n": n, "text": "x" * (room - len(',"ms":') - len(repr(ms))), "ms": ms}


def mixed(n: int) -> int:
    """Milliseconds that job n takes with `--mix`: 90% 0 to 5, 9% 50, 1% 500, in an order without pattern."""
    place = n * 619 % 1000  # each of 0..999 once in a thousand jobs
    return place % 6 if place < 900 else 50 if place < 990 else 500


def queue_of(n: int, options: argparse.Namespace) -> str:
    """The queue of job n: round robin over `--queues`."""
    return f"{QUEUE}-{n % options.queues}" if options.queues else QUEUE


def queues_of(options: argparse.Namespace) -> list[str]:
    """All queues there are."""
    return [f"{QUEUE}-{k}" for k in range(options.queues)] if options.queues else [QUEUE]


def out(**values: object) -> None:
    """Say something to the harness: one JSON object a line."""
    print(json.dumps(values), flush=True)


async def enqueue(options: argparse.Namespace, send: Callable[[int], Awaitable[object]]) -> None:
    """Send jobs one by one by `--clients` concurrent clients, and say how long it took.

    With a rate job n is due at n / rate, whoever sends it; a late one is sent at once.
    """
    called, committed = (array.array("d", bytes(8 * options.count)) for _ in range(2))
    begin, cpu = time.monotonic(), time.process_time()

    async def client(number: int) -> None:
        for n in range(number, options.count, options.clients):
            if options.rate and (ahead := begin + n / options.rate - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            called[n] = time.monotonic()
            await send(n)
            committed[n] = time.monotonic()

    async with asyncio.TaskGroup() as clients:
        for number in range(options.clients):
            clients.create_task(client(number))
    sent(options, begin, cpu, called, committed)


def enqueue_blocking(options: argparse.Namespace, send: Callable[[int], object]) -> None:
    """The same for one client that blocks, outside of any event loop."""
    called, committed = (array.array("d", bytes(8 * options.count)) for _ in range(2))
    begin, cpu = time.monotonic(), time.process_time()
    for n in range(options.count):
        if options.rate and (ahead := begin + n / options.rate - time.monotonic()) > 0:
            time.sleep(ahead)
        called[n] = time.monotonic()
        send(n)
        committed[n] = time.monotonic()
    sent(options, begin, cpu, called, committed)


@contextmanager
def bulk(options: argparse.Namespace) -> Iterator[None]:
    """Time what is inside and say how long it took."""
    begin, cpu = time.monotonic(), time.process_time()
    yield
    _sent(options, begin, cpu)


def portions(options: argparse.Namespace, size: int) -> Iterator[tuple[str, range]]:
    """Queue and numbers of the jobs, in portions of one queue each."""
    step = options.queues or 1
    for first in range(step):
        for start in range(first, options.count, size * step):
            yield queue_of(first, options), range(start, min(start + size * step, options.count), step)


class Seen(NamedTuple):
    """How many handlers have started, and when the first and the last one did."""

    executed: int
    first: float | None
    last: float | None


class Counter(Protocol):
    """Where handlers count themselves."""

    def started(self, n: int) -> None:
        """A handler of job n has started."""

    def seen(self) -> Seen:
        """What has been counted so far."""

    def stamps(self) -> Iterator[tuple[int, float]]:
        """All starts, as number of the job and time."""


class Starts:
    """Counts handlers in this process, from any of its threads."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._lock = threading.Lock()
        self._numbers = array.array("q") if options.stamps else None
        self._times = array.array("d")
        self._executed = 0
        self._first = self._last = 0.0

    def started(self, n: int) -> None:
        with self._lock:
            self._last = time.monotonic()
            if not self._executed:
                self._first = self._last
            self._executed += 1
            if self._numbers is not None:
                self._numbers.append(n)
                self._times.append(self._last)

    def seen(self) -> Seen:
        with self._lock:
            return Seen(self._executed, self._first, self._last) if self._executed else Seen(0, None, None)

    def stamps(self) -> Iterator[tuple[int, float]]:
        return zip(self._numbers or (), self._times, strict=True)


class SharedStarts:
    """Counts handlers in any process that has the path: each start appends one record to a file, in one write."""

    def __init__(self, path: str | None = None) -> None:
        self.path = path or tempfile.mkstemp(prefix="bench-starts-")[1]
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND)
        self._owner = path is None

    def started(self, n: int) -> None:
        os.write(self._file, _RECORD.pack(n, time.monotonic()))

    def seen(self) -> Seen:
        executed = os.fstat(self._file).st_size // _RECORD.size
        return Seen(executed, self._read(0)[1], self._read(executed - 1)[1]) if executed else Seen(0, None, None)

    def stamps(self) -> Iterator[tuple[int, float]]:
        return iter(list(_RECORD.iter_unpack(Path(self.path).read_bytes())))

    def close(self) -> None:
        os.close(self._file)
        if self._owner:
            os.unlink(self.path)

    def _read(self, position: int) -> tuple[int, float]:
        n, at = _RECORD.unpack(os.pread(self._file, _RECORD.size, position * _RECORD.size))
        return n, at


@contextmanager
def reporting(options: argparse.Namespace, starts: Counter) -> Iterator[None]:
    """While the worker runs inside, tell the harness ten times a second what has started; all of it at the end."""
    ended = threading.Event()

    def report() -> None:
        told = 0
        while not ended.wait(0.1):
            seen = starts.seen()
            if seen.executed != told:
                told = seen.executed
                out(**seen._asdict())

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        ended.set()
        reporter.join()
        out(**starts.seen()._asdict(), cpu=_cpu(), rss=_most_resident())
        if options.stamps:
            _write(options.stamps, starts.stamps())


def told_to_stop() -> asyncio.Event:
    """An event of the running loop that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _add_shared(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--executor")
    verb.add_argument("--queues", type=int)
    verb.add_argument("--keep", action="store_true")
    verb.add_argument("--stamps", type=Path)


def sent(
    options: argparse.Namespace, begin: float, cpu: float, called: "array.array[float]", committed: "array.array[float]"
) -> None:
    """Say how long it took, and write down when each enqueue was called and when it returned."""
    _sent(options, begin, cpu)
    if options.stamps:
        _write(options.stamps, zip(range(options.count), committed, called, strict=True))


def _sent(options: argparse.Namespace, begin: float, cpu: float) -> None:
    out(count=options.count, seconds=time.monotonic() - begin, cpu=time.process_time() - cpu)


def _write(path: Path, stamps: Iterable[tuple[float, ...]]) -> None:
    """A line for each job: its number, when it was committed or started, and for an enqueue when it was called."""
    with path.open("w") as file:
        file.writelines(" ".join(map(repr, each)) + "\n" for each in stamps)


def _cpu() -> float:
    """CPU seconds of this process and of the children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _most_resident() -> int:
    """Bytes that were resident at most; not by getrusage, whose figure a program inherits from its parent."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])
