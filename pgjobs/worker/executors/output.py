"""What children write to stdout and stderr: read as it comes, cut into lines, and logged as said by the job they run."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext
from typing import Any

from pgjobs.job import Claimed

CHUNK = 65_536
LONGEST_LINE = 8_192  # bytes; a longer one is logged in parts
LEFT_MOST = 1 << 20  # bytes read at the end of a run; a pipe holds less, but a grandchild may go on writing

STREAMS = {"stdout": logging.INFO, "stderr": logging.WARNING}


class Output:
    """Both streams of one child. The reader is never away, so that a child that floods them only waits for its turn.

    Arguments: whose, called before something is read: whose it is, None for nobody's.
    """

    def __init__(self, spawn: SpawnContext, whose: Callable[[], Claimed | None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._whose = whose
        self._job: Claimed | None = None
        self.theirs: list[Connection[Any, Any]] = []
        self._streams: list[_Stream] = []
        for name in STREAMS:
            ours, theirs = spawn.Pipe(duplex=False)
            os.set_blocking(ours.fileno(), False)
            self.theirs.append(theirs)
            stream = _Stream(name, ours, self._log)
            self._streams.append(stream)
            self._loop.add_reader(ours.fileno(), self._readable, stream)

    def rest(self, job: Claimed | None) -> None:
        """Log what was written up to now, as this job's."""
        self._job = job
        for stream in self._streams:
            left = LEFT_MOST
            while left > 0 and (count := stream.read()):
                left -= count

    def finish_lines(self) -> None:
        """Log lines that are begun: whose they were has ended."""
        for stream in self._streams:
            if stream.begun:
                stream.finish_line()

    def close(self) -> None:
        """Log the rest and let go; again, if you like."""
        self.rest(self._job)
        self.finish_lines()
        streams, self._streams = self._streams, []
        for stream in streams:
            self._loop.remove_reader(stream.pipe.fileno())
            stream.pipe.close()

    def _readable(self, stream: _Stream) -> None:
        self._job = self._whose()
        if stream.read() == 0 and stream.ended:
            self._loop.remove_reader(stream.pipe.fileno())

    def _log(self, stream: str, line: str) -> None:
        job = self._job
        if job is None:
            logging.getLogger("pgjobs.worker").log(STREAMS[stream], "child process: %s", line)
            return
        who = {**job.fields, "stream": stream}
        logging.getLogger(f"pgjobs.task.{job.task}").log(STREAMS[stream], "%s", line, extra=who)


class _Stream:
    """One pipe, and the line that is not yet whole."""

    def __init__(self, name: str, pipe: Connection[Any, Any], tell: Callable[[str, str], None]) -> None:
        self.name = name
        self.pipe = pipe
        self.ended = False
        self._tell = tell
        self.begun = b""

    def read(self) -> int:
        """Read what is there, a chunk at most, tell its lines, and return how much it was."""
        data = b""
        with suppress(BlockingIOError):
            data = os.read(self.pipe.fileno(), CHUNK)
            self.ended = not data
        *lines, self.begun = (self.begun + data).split(b"\n")
        for line in lines:
            self._tell_line(line)
        while len(self.begun) > LONGEST_LINE:
            self._tell_line(self.begun[:LONGEST_LINE])
            self.begun = self.begun[LONGEST_LINE:]
        return len(data)

    def finish_line(self) -> None:
        """Tell the line that was begun, if there is one."""
        line, self.begun = self.begun, b""
        if line:
            self._tell_line(line)

    def _tell_line(self, line: bytes) -> None:
        for start in range(0, max(len(line), 1), LONGEST_LINE):
            part = line[start : start + LONGEST_LINE]
            self._tell(self.name, part.decode("utf-8", "backslashreplace").rstrip("\r"))
