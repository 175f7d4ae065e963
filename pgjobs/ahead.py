"""A worker process begun ahead: while the command line is read, it imports on another core what it will need.

It waits at its end of the line for orders (see worker/link.py); when none come, since the line ends, so does it.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Ahead(NamedTuple):
    """A process of ours, in a process group of its own, and our end of the line to it."""

    pid: int
    line: socket.socket


def begin(arguments: Sequence[str]) -> Ahead | None:
    """Begin a worker process if this command line will need one. None when it will not, or that is not sure.

    To be called while there is but one thread: what can be inherited is inherited by whatever is started just now.
    """
    if arguments[:1] != ["worker"] or not hasattr(os, "posix_spawn"):
        return None
    none_needed = {"--drain", "-h", "--help", "--processes=0"}.intersection(arguments)
    if none_needed or ("--processes", "0") in pairwise(arguments):
        return None
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.set_inheritable(True)
        # A process group of its own: ^C in a terminal reaches the whole group, and a worker is to hear of it once.
        pid = os.posix_spawn(
            sys.executable, command(theirs.fileno(), _app(arguments)), os.environ, setpgroup=0, setsigmask=(),
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
        )  # fmt: skip
    return Ahead(pid, ours)


def command(line: int, app: str) -> list[str]:
    """Return the command line of a worker process: its end of the line, and for people the app it works for."""
    return [sys.executable, "-m", "pgjobs.supervised", str(line), app]


def _app(arguments: Sequence[str]) -> str:
    """The app, as far as it can be told before the command line is read."""
    for option, value in pairwise([*arguments, ""]):
        if option == "--app" or option.startswith("--app="):
            return option.partition("=")[2] or value
    return os.environ.get("PGJOBS_APP", "")
