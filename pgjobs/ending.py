"""The end of the program, which no thread may put off for ever, and which comes with that of its parent if it is to."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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


def forks_end_by_signals() -> None:
    """Let what handlers fork be ended by signals: a fork inherits ours, and would pass a SIGTERM on to this process."""
    if not hasattr(os, "register_at_fork"):
        return
    ours = {signal.SIGTERM, signal.SIGINT}
    before = threading.local()

    # Held back meanwhile: one that comes before the fork is itself would be lost.
    def hold() -> None:
        before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ours)

    def go_on() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before.mask)

    def begin() -> None:
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
        go_on()

    os.register_at_fork(before=hold, after_in_parent=go_on, after_in_child=begin)
