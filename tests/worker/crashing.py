"""Tasks for child processes, which import this module by its name."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pgjobs

app = pgjobs.App()
in_process = {"executor": "process", "queue": "children"}


@app.task(executor="process", queue="children")
def add(a: int, b: int) -> int:
    return a + b


@app.task(executor="process", queue="children")
async def add_later(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


@app.task(executor="process", queue="children")
def noop(text: str) -> None: ...


@app.task(executor="process", queue="children")
def read(path: str) -> str:
    """Wait for somebody who writes."""
    return Path(path).read_text()


@app.task(executor="process", queue="children")
def print_id(aloud: bool, job: pgjobs.JobContext) -> None:
    if aloud:
        print(job.id, end="")
        os.system(f"echo {job.id} >&2")


@app.task(executor="process", queue="children")
def pid() -> int:
    return os.getpid()


@app.task(executor="process", queue="children", max_attempts=1)
def crash(signal_name: str) -> None:
    os.kill(os.getpid(), signal.Signals[signal_name])
    signal.pause()


@app.task(executor="process", queue="children", max_attempts=1)
def leave(status: int) -> None:
    os._exit(status)


@app.task(executor="process", queue="children", max_attempts=1)
def come_back_twice(program: str | None) -> int:
    """From a fork, too: after its exec has failed, or as if nothing were."""
    fork = os.fork()
    if fork == 0:
        if program is not None:
            os.execvp(program, [program])
        return -1
    _, status = os.waitpid(fork, 0)
    return os.waitstatus_to_exitcode(status)


@app.task(executor="process", queue="children", max_attempts=1)
def terminate() -> list[int | None]:
    """A program, and a fork, that would go on for ever."""
    program = subprocess.Popen(["sleep", "3600"])
    program.terminate()
    fork = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    fork.start()
    fork.terminate()
    fork.join()
    return [program.wait(), fork.exitcode]


@app.task(executor="process", queue="children", max_attempts=1, timeout=1)
def wait_for_a_program(path: str) -> None:
    program = subprocess.Popen(["sleep", "3600"])
    Path(path).write_text(str(program.pid))
    program.wait()


@app.task(executor="process", queue="children", max_attempts=1)
def progress_of_a_fork(job: pgjobs.JobContext) -> None:
    fork = os.fork()
    if fork == 0:
        job.progress(13, message="from the fork")
        os._exit(0)
    os.waitpid(fork, 0)


@app.task(executor="process", queue="children", max_attempts=1)
def say_exit() -> None:
    sys.exit("enough")


@app.task(executor="process", queue="children", max_attempts=1)
async def leave_in_a_task() -> None:
    async def leave() -> None:
        sys.exit("enough")

    await asyncio.create_task(leave())


@app.task(executor="process", queue="children", max_attempts=1, timeout=0.5)
def spin() -> None:
    while True:
        pass


@app.task(executor="process", queue="children", max_attempts=1)
def spin_telling(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    while True:
        time.monotonic()


@app.task(executor="process", queue="children", max_attempts=3)
def attempt(context: pgjobs.JobContext) -> list[int]:
    return [context.attempt, context.max_attempts, context.id, context.run]


@app.task(executor="process", queue="children", max_attempts=1)
def snooze_once(context: pgjobs.JobContext) -> str:
    if context.run == 1:
        raise pgjobs.Snooze(0)
    return "rested"


@app.task(executor="process", queue="children", max_attempts=1)
def print_and(end: str) -> None:
    print("begun", flush=False)
    print("no newline yet", end="")
    sys.stderr.write("a warning\n")
    os.system("echo from a grandchild")
    if end == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if end == "exit":
        os._exit(3)


@app.task(executor="process", queue="children", max_attempts=1)
def segfault() -> None:
    faulthandler._sigsegv()  # type: ignore[attr-defined]


@app.task(executor="process", queue="children", max_attempts=1)
def flood(lines: int) -> str:
    for number in range(lines):
        print("x" * 100, number)
        print("y" * 100, number, file=sys.stderr)
    return "dry"


@app.task(executor="process", queue="children", max_attempts=1)
def long_line() -> None:
    print("z" * 20_000 + "\xe9\r")


@app.task(executor="process", queue="children", max_attempts=1, max_rss="256MB")
def take(megabytes: int, path: str | None = None) -> int:
    taken = bytearray(megabytes << 20)
    taken[::4096] = b"x" * len(taken[::4096])  # touched, so that it counts
    if path is not None:
        Path(path).write_text("")
        while True:
            time.monotonic()
    return len(taken)


@app.task(executor="process", queue="children", max_jobs=2)
def pid_of_two() -> int:
    return os.getpid()


@app.task(executor="process", queue="children", max_attempts=1)
def close_everything() -> None:
    os.closerange(3, 100)
    while True:
        time.monotonic()


@app.task(executor="process", queue="children", max_attempts=1)
def hold_the_interpreter(path: str) -> None:
    """Run C code that does not let go of the interpreter's lock, so that no thread of the child can see anything."""
    Path(path).write_text(str(os.getpid()))
    ctypes.PyDLL(None).usleep(60_000_000)


if __name__ == "__main__":
    app.run_worker(["children"], concurrency=2)
