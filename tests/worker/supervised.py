"""An app for worker processes, which import it by its name. What its jobs do is told by rows and files."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pgjobs

app = pgjobs.App()


def tell(path: str) -> int:
    """Write down which process runs it, and since when; return how many did so far."""
    with Path(path).open("a") as file:
        print(os.getpid(), time.monotonic(), file=file)
    return len(Path(path).read_text().splitlines())


@app.task
async def add(a: int, b: int) -> int:
    return a + b


@app.task
async def nap(seconds: float) -> None:
    await asyncio.sleep(seconds)


@app.task
async def wait(path: str) -> int:
    """Say who runs it, in a line of a file, and wait the first time; done when run again."""
    if tell(path) == 1:
        await asyncio.Event().wait()
    return os.getpid()


@app.task
def block(path: str) -> None:
    """The same, in a thread that holds on for ever."""
    tell(path)
    threading.Event().wait()


@app.task(timeout=0.05, max_attempts=2, retry=pgjobs.Fixed(3600))
def deaf(path: str) -> None:
    """The same, though its time is over at once, and it is asked to stop."""
    tell(path)
    threading.Event().wait()


@app.task
async def which_loop() -> str:
    return type(asyncio.get_running_loop()).__module__


@app.task(executor="process")
def spin(path: str) -> None:
    """The same, in a child of the worker that never lets go."""
    tell(path)
    while True:
        time.monotonic()


@app.task(max_attempts=9)
async def crash() -> None:
    """Take the worker along, every time."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def leave_a_process_behind() -> None:
    """Python would wait for it at its end."""
    multiprocessing.get_context("spawn").Process(target=time.sleep, args=(3600,)).start()


@app.task
def end_a_fork() -> int | None:
    fork = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    fork.start()
    fork.terminate()
    fork.join()
    return fork.exitcode


@app.task(max_attempts=9)
async def leave() -> None:
    """Take the worker along, as if all were well."""
    os._exit(0)


@app.task(max_attempts=9)
async def cancel_all() -> None:
    """Take the worker along, as if the event loop were one's own."""
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)


@app.task(max_attempts=1)
async def stop_the_loop() -> None:
    """As if the event loop were one's own; it goes on."""
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)


@app.task
def grab(path: str) -> None:
    """The same, in a thread that holds the interpreter's lock, so that no other of Python's runs again."""
    tell(path)
    ctypes.PyDLL(None).sleep(3600)
