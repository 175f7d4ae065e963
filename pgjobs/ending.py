"""The end of the program, which no thread may put off for ever, and which comes with that of its parent if it is to."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LAST_SECONDS = 3.0  # what threads may take to end once the command has ended

log = logging.getLogger("pgjobs")


@contextmanager
def ending_in_time() -> Iterator[None]:
    """After the block the program ends within a few seconds.

    Python would wait for every thread that is no daemon, and a handler can have left one that never ends: then a
    stopped worker would hang, its jobs long given back.
    """
    status: object = 0
    try:
        yield
    except SystemExit as end:
        status = end.code
        raise
    finally:
        if _threads():
            ending = threading.Timer(LAST_SECONDS, _end, [status if isinstance(status, int) else 1])
            ending.daemon = True
            ending.start()


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent is gone, even if no thread of Python's ever runs again. On Linux."""
    if sys.platform == "linux":
        import ctypes  # not at the top: most programs that are to end in time need it not

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it was gone before
            os._exit(1)


def _threads() -> list[str]:
    return [
        thread.name for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]


def _end(status: int) -> None:
    log.warning("ended without waiting for threads that go on: %s", ", ".join(_threads()))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)
