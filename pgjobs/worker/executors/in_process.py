"""The process executor: handlers in child processes, which can be killed and may crash without taking anyone along.

Why not concurrent.futures: there one child that dies breaks the whole pool, and a running call cannot be ended.
Each child serves one job after the other, and is used again, so that what a handler keeps warm in a global (a model, a
connection) stays warm. Children are spawned, not forked: a fork would inherit the worker's sockets. A child is replaced
when it has died or was killed, took more memory than a task may, or ran as many jobs as a task says.

A child whose runs are short gets several orders ahead, so that it need not wait for the worker between them. What it has
not begun is taken back when a run turns out to be long, and when the child dies: nothing waits behind a long run while
another child could do it, and a crash costs one run.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque

from pgjobs.errors import ProcessDied
from pgjobs.outcome import Failed, Outcome, Release
from pgjobs.worker.executors.children import SHORT, Child
from pgjobs.worker.executors.executor import Executor
from pgjobs.worker.executors.wire import CHUNK
from pgjobs.worker.run import Run

LOOK_EVERY = SHORT  # seconds between looks whether the children there are will do
LOOKS = 4  # of them, in which what waits should be taken up

CORES = os.cpu_count() or 1


class ProcessExecutor(Executor):
    """Children made when needed, up to the worker's concurrency; the one that was busy last is used first.

    As many as there are cores are started at once; more if those there are take up too little of what waits, unless as many
    as there are cores get on with short runs.
    """

    def __init__(self) -> None:
        self._waiting: deque[Run] = deque()
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._dispatch_soon: asyncio.Handle | None = None
        self._look: asyncio.TimerHandle | None = None
        self._answers = 0

    def start(self, run: Run) -> None:
        """Run a function in a child, as soon as one can take it. At its timeout the child is killed."""
        self._waiting.append(run)
        self._dispatch_later()

    def cancel(self, run: Run) -> None:
        """Kill the child, if the run has begun; otherwise it never will."""
        self.cut_short(run)

    def cut_short(self, run: Run) -> None:
        """Kill the child, if the run has begun; otherwise it never will."""
        child: Child | None = run.work
        if child is not None:
            if child not in self._all:
                return  # it is being killed already, or has died
            self.given_back(child, child.take_back())
            child.read_answers()
            if child.in_hand and child.in_hand[0] is run:
                self._end(child, Release())
        if run.work is None and run in self._waiting:
            self._waiting.remove(run)
            self.ended(run, Release())

    async def close(self) -> None:
        """End all children."""
        for handle in (self._dispatch_soon, self._look):
            if handle is not None:
                handle.cancel()
        for child in list(self._all):
            self._end(child, Release())
        if self._ending:
            await asyncio.wait(self._ending)

    # What children say

    def answered(self, child: Child, run: Run, outcome: Outcome) -> None:
        """Take an outcome; have the child replaced if it has run as many jobs as the task says."""
        assert run.task is not None
        self._answers += 1
        if not child.in_hand:
            max_jobs = run.task.options_.max_jobs
            if max_jobs is not None and child.jobs >= max_jobs:
                child.let_go()
                self._end(child, Release(), kill=False)
            else:
                self._idle.append(child)
        self.ended(run, outcome)
        if self._waiting:
            self._dispatch_later()

    def lost(self, child: Child) -> None:
        """A child has ended by itself: the run it was at has failed, the others go to another child."""
        if child not in self._all:
            return
        back = child.take_back()
        if back and not child.in_hand and not child.ready:
            child.in_hand.append(back.pop(0))  # it will not come up: or the next would be started for it, and the next
        self._take_to_the_front(back)
        self._end(child, None, kill=False)

    def stopped(self, child: Child, failed: Failed) -> None:
        """Kill a child for what it runs."""
        if child in self._all:
            self._take_to_the_front(child.take_back())
            self._end(child, failed)

    def given_back(self, child: Child, runs: list[Run]) -> None:
        """Have others do what a child has not begun."""
        self._take_to_the_front(runs)
        if runs and not child.in_hand:
            self._idle.append(child)

    # Who does what

    def _take_to_the_front(self, runs: list[Run]) -> None:
        for run in reversed(runs):
            run.work = None
            self._waiting.appendleft(run)
        if runs:
            self._dispatch_later()

    def _dispatch_later(self) -> None:
        if self._dispatch_soon is None:  # once for all that come together
            self._dispatch_soon = asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatch_soon = None
        ahead = False
        while self._waiting:
            child = self._child_for(self._waiting[0])
            if child is None and len(self._all) < CORES:
                child = self._more()
            if child is None:
                break
            child.send(self._waiting.popleft())
            ahead = ahead or len(child.in_hand) > 1
        if (self._waiting or ahead) and self._look is None:
            self._look_later()

    def _child_for(self, run: Run) -> Child | None:
        max_rss, alone = _needs(run)
        while self._idle:
            child = self._idle.pop()
            if child not in self._all:
                continue
            if max_rss is None or (child.rss() or 0) <= max_rss:
                return child
            self._end(child, Release())
        if alone:
            return None
        with_room = [child for child in self._all if child.room > 0]
        return min(with_room, key=_in_hand, default=None)

    def _more(self) -> Child | None:
        """Start a child, unless as many are starting as there are cores."""
        if sum(not child.ready for child in self._all) >= CORES:
            return None
        child = Child(self)
        self._all.add(child)
        return child

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(LOOK_EVERY, self._look_whether_children_do, self._answers)

    def _look_whether_children_do(self, answers_before: int) -> None:
        """Take back what waits behind a long run; start more children if those there are take up too little."""
        self._look = None
        ahead = False
        now = time.monotonic()
        for child in list(self._all):
            if len(child.in_hand) > 1 and now - child.began > SHORT:
                child.read_answers()
                if len(child.in_hand) > 1 and now - child.began > SHORT:
                    child.most = 1
                    self.given_back(child, child.take_back())
            ahead = ahead or len(child.in_hand) > 1
        slow = (self._answers - answers_before) * LOOKS < len(self._waiting)
        getting_on = sum(child.ready and now - child.began <= SHORT for child in self._all)
        # More than one a core that only do short runs would only take turns.
        while slow and getting_on < CORES and self._waiting and (new := self._more()) is not None:
            new.send(self._waiting.popleft())
        if self._waiting or ahead:
            self._look_later()

    def _end(self, child: Child, outcome: Outcome | None, kill: bool = True) -> None:
        """End a child; when it has ended, so has what it was at, with this outcome, or as a death."""
        self._all.discard(child)
        child.leave()
        if kill:
            child.kill()
        runs, child.in_hand = list(child.in_hand), deque()
        self._take_to_the_front(runs[1:])
        ending = asyncio.get_running_loop().create_task(self._see_the_end(child, runs[0] if runs else None, outcome))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _see_the_end(self, child: Child, run: Run | None, outcome: Outcome | None) -> None:
        try:
            await child.end()
        finally:
            if run is not None:
                self.ended(run, outcome or Failed(ProcessDied.__name__, f"its process {child.death()}"))


def _needs(run: Run) -> tuple[int | None, bool]:
    """Return how much memory a child may have for a run, and whether it must have the child for itself."""
    assert run.task is not None
    options = run.task.options_
    alone = options.max_rss is not None or options.max_jobs is not None or len(run.job.payload) > CHUNK // 8
    return options.max_rss, alone


def _in_hand(child: Child) -> int:
    return len(child.in_hand)
