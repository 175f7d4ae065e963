"""Programs of the measured systems while they run: what they say, when they end, and that they do end.

A program prints JSON, one object a line; a thread reads it. Every wait has a limit and notices a program that is gone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

from bench import meters
from bench.environments import Environment


class Failed(Exception):
    """A run came to nothing; the text says why."""


class Program:
    """One started program: the objects it has printed, and for a worker how far it is."""

    def __init__(
        self, environment: Environment, arguments: Sequence[str], url: str, news: threading.Condition | None = None
    ) -> None:
        self.verb = arguments[0]
        self.said: list[dict[str, Any]] = []
        self.news = news or threading.Condition()  # notified of every line, and of the end
        self.ready = self.ended = False
        self.cpu_when_ready = 0.0
        self.executed = 0
        self.first: float | None = None
        self.last: float | None = None
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it is open as long as the program is
        self._process = environment.start(*arguments, url=url, stderr=self._errors.fileno())
        self._reader = threading.Thread(target=self._read, name=f"bench {self.verb}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process, whose session all that it starts is in."""
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self.news:
                try:
                    word = json.loads(line)
                except ValueError:
                    word = {"not JSON": line.strip()}
                self._note(word if isinstance(word, dict) else {"not an object": word})
                self.news.notify_all()
        self._process.wait()
        with self.news:
            self.ended = True
            self.news.notify_all()

    def _note(self, word: dict[str, Any]) -> None:
        if word.get("ready"):
            self.ready, self.cpu_when_ready = True, meters.cpu_of_session(self.pid)
        if "executed" in word:
            self.executed, self.first, self.last = word["executed"], word.get("first"), word.get("last")
            if self.said and "executed" in self.said[-1]:
                self.said.pop()  # only the last of them says anything, and hours bring many
        self.said.append(word)

    def check(self) -> None:
        """Raise Failed if it has ended before it was asked to."""
        if self.ended:
            raise Failed(f"{self.verb} ended with status {self._process.returncode}. {self.complaints()}")

    def finish(self, limit: float) -> dict[str, Any]:
        """Wait for its end and return the last object that it printed."""
        self._reader.join(limit)
        if self._reader.is_alive():
            raise Failed(f"{self.verb} took more than {limit:.0f} s. {self.complaints()}")
        if self._process.returncode != 0 or not (self.said or self.verb == "install"):
            self.check()
        return self.said[-1] if self.said else {}

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it and all that it started, at once."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pid in meters.session(self._process.pid):  # those that made a group of their own
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=30)
        self._reader.join(10)
        self._errors.close()

    def complaints(self, lines: int = 8) -> str:
        """What it wrote to stderr last."""
        descriptor = self._errors.fileno()  # the program writes through a copy of it: its place is not moved
        text = os.pread(descriptor, 8192, max(0, os.fstat(descriptor).st_size - 8192))
        said = text.decode(errors="replace").strip().splitlines()[-lines:]
        return "\n".join(["It said:", *said]) if said else "It said nothing."

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Crew:
    """The worker programs of one run."""

    def __init__(self, programs: list[Program], news: threading.Condition) -> None:
        self.programs = programs
        self._news = news

    @property
    def executed(self) -> int:
        """How many handlers have started."""
        return sum(program.executed for program in self.programs)

    @property
    def span(self) -> float:
        """Seconds from the first start of a handler to the last."""
        firsts = [program.first for program in self.programs if program.first is not None]
        lasts = [program.last for program in self.programs if program.last is not None]
        return max(lasts) - min(firsts) if firsts else 0.0

    def wait(self, true: Callable[[], bool], limit: float, what: str) -> None:
        """Wait until it is so; raise Failed when a program ends, or the time is up."""
        ends = time.monotonic() + limit
        with self._news:
            while not true():
                for program in self.programs:
                    program.check()
                if not self._news.wait(max(0.0, min(1.0, ends - time.monotonic()))) and time.monotonic() >= ends:
                    raise Failed(f"{what} took more than {limit:.0f} s: {self.executed:,} jobs had started.")

    def wait_ready(self, limit: float = 60) -> None:
        """Wait until all of them claim."""
        self.wait(lambda: all(program.ready for program in self.programs), limit, "The start of the workers")

    def wait_executed(self, jobs: int, limit: float) -> None:
        """Wait until so many handlers have started."""
        self.wait(lambda: self.executed >= jobs, limit, f"{jobs:,} jobs")

    def at_rest(self, seconds: float) -> None:
        """Let them come to rest for so long: what the start of a worker does is not to be measured."""
        ends = time.monotonic() + seconds
        with suppress(Failed):
            self.wait(lambda: time.monotonic() >= ends, seconds, "To rest")
        for program in self.programs:
            program.check()

    def cpu(self) -> float:
        """Seconds of CPU since each was ready, of all that they have started."""
        return sum(meters.cpu_of_session(program.pid) - program.cpu_when_ready for program in self.programs)

    def resident(self) -> int:
        """Bytes resident at most: of the program that had most, its processes together."""
        return max(meters.peak_of_session(program.pid) for program in self.programs)

    def stop(self, limit: float = 60) -> list[dict[str, Any]]:
        """End them in order, and return the last words of each."""
        for program in self.programs:
            program.signal(signal.SIGTERM)
        return [program.finish(limit) for program in self.programs]


@contextmanager
def crew(environment: Environment, arguments: Sequence[Sequence[str]], url: str) -> Iterator[Crew]:
    """Start worker programs, one for each list of arguments; they have ended when the block has."""
    news = threading.Condition()
    programs: list[Program] = []
    try:
        for each in arguments:
            programs.append(Program(environment, each, url, news))  # noqa: PERF401 - those started must be ended
        yield Crew(programs, news)
    finally:
        for program in programs:
            program.kill()
