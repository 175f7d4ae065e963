"""What the measured workers run: `python -m bench.load` is one of them."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

import pgjobs

app = pgjobs.App()
TEXT = "x" * 188  # 200 bytes of JSON
executed = 0


@app.task(queue="bench")
async def noop(text: str) -> None:
    """Nothing, so that only the queue is measured."""
    global executed
    executed += 1


@app.task(queue="bench", keep="nothing")
async def noop_forgotten(text: str) -> None:
    """Nothing, and nothing kept of it."""
    global executed
    executed += 1


@app.task(queue="bench-2")
async def noop_elsewhere(text: str) -> None:
    """Nothing, in another queue."""


@app.task(queue="bench")
async def sleep() -> None:
    """Until its worker is killed."""
    await asyncio.sleep(3600)


@app.task(queue="bench")
async def stamp() -> float:
    """When it was started, by the machine's one monotonic clock."""
    return time.monotonic()


def fresh(dsn: str) -> None:
    """Empty all tables."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "truncate pgjobs.jobs, pgjobs.job_history, pgjobs.attempts, pgjobs.dead_letters, pgjobs.workers, pgjobs.tasks"
        )
        connection.execute("vacuum analyze pgjobs.jobs")
        connection.execute("checkpoint")


def fill(jobs: int, task: pgjobs.Task[[str], Any] = noop) -> float:
    """Enqueue so many jobs; return how many a second."""
    began = time.monotonic()
    app.enqueue_many(task.spec(TEXT) for _ in range(jobs))
    return jobs / (time.monotonic() - began)


@contextmanager
def workers(count: int, *arguments: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Start worker processes with these arguments, each ready to claim; end them by their ids."""
    processes = [start(*arguments) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(timeout=60)


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start one worker process."""
    return subprocess.Popen(
        [sys.executable, "-m", "bench.load", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )


def supervisor(*arguments: str) -> subprocess.Popen[str]:
    """Start `pgjobs worker` on these tasks, as people do."""
    return subprocess.Popen(
        [sys.executable, "-m", "pgjobs", "worker", "--app", "bench.load:app", "--log-level", "error", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parent.parent,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )


def main() -> None:
    """Work, and print what was done as one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--concurrency", type=int, default=500)
    parser.add_argument("--lease", type=float, default=60)
    parser.add_argument("--drain", action="store_true")
    given = parser.parse_args()
    began, cpu = time.monotonic(), time.process_time()
    worker = app.run_worker(["bench"], concurrency=given.concurrency, lease=given.lease, drain=given.drain)
    took = time.monotonic() - began
    print(json.dumps({"executed": executed, "seconds": took, "cpu": time.process_time() - cpu, **worker.stats}))


if __name__ == "__main__":
    # Under its own name, so that the tasks are registered once.
    from bench.load import main

    main()
