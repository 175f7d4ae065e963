"""The thread executor: blocking functions, each in a thread of the worker's process.

A thread cannot be stopped from outside. It is asked (`job.cancelled`, `job.check()`, a generator between its yields); a
task that said `interrupt=True` has JobInterrupted raised in it, wherever its Python code is, and then its thread is not
used again. One that does not stop within a second is stuck: it keeps its lease and its slot, and is counted.

Not concurrent.futures: its threads are joined at the interpreter's exit, so one handler that never returns would keep
a stopped worker alive for ever. These are daemons; an abandoned one ends with the process.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from pgjobs.context import JobInterrupted
from pgjobs.outcome import Done, Outcome, Release
from pgjobs.payload import encode_result
from pgjobs.worker.executors.calling import call, end_fork, forks
from pgjobs.worker.executors.executor import Executor
from pgjobs.worker.executors.in_loop import DONE, timed_out
from pgjobs.worker.run import Run

log = logging.getLogger("pgjobs.worker")

ASKED_FOR = 1.0  # seconds a thread that is asked to stop may take before it counts as stuck, or is abandoned

AT_ONCE = 4  # threads that are started without a look whether those at work will do
LOOK_EVERY = 0.005  # seconds between looks whether those at work will do
LOOKS = 4  # of them, in which what waits should be taken up


class ThreadExecutor(Executor):
    """Threads made when needed, up to the worker's concurrency, and used again.

    A run that meets no idle thread waits a moment for one: threads that only do short jobs would fight for the interpreter.
    What came of runs is collected by the event loop, as much as there is each time it is woken.

    Arguments: on_stuck, called in the event loop whenever a thread does not stop though it was asked to.
    """

    def __init__(self, on_stuck: Callable[[], None] = lambda: None) -> None:
        self.stuck: set[_Work] = set()
        self._on_stuck = on_stuck
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._done: deque[tuple[_Work, Outcome]] = deque()
        self._woken = False  # the loop is to collect, and knows it
        self._threads = 0
        self._under_way = 0  # what was handed over and has not been collected
        self._handed_over = 0
        self._look: asyncio.TimerHandle | None = None

    def start(self, run: Run) -> None:
        """Hand a run over to a thread. At its timeout it is asked to stop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._woken = loop, False
        work = run.work = _Work(run, self)
        timeout = run.timeout
        if timeout is not None:
            work.limit = loop.call_later(timeout.total_seconds(), self._too_late, work)
        self._under_way += 1
        self._hand_over(work)

    def cancel(self, run: Run) -> None:
        """Ask the thread to stop, and go on waiting for it."""
        self._ask(run.work)

    def cut_short(self, run: Run) -> None:
        """Ask the thread to stop, and wait for it a moment."""
        self._ask(run.work)
        assert self._loop is not None
        self._loop.call_later(ASKED_FOR, self._abandon, run.work)

    async def close(self) -> None:
        """Let idle threads end."""
        for _ in range(self._threads):
            self._work.put(None)

    # In the threads

    def _serve(self) -> None:
        with suppress(JobInterrupted):  # it may strike late; by then the outcome is told
            while (work := self._work.get()) is not None and work.do():
                pass

    def tell(self, work: _Work, outcome: Outcome, again: bool) -> None:
        """Hand an outcome over to the loop. Called in the thread of the run; again, if that was interrupted."""
        self._done.append((work, outcome))
        # I append and then look, the loop the other way round: one of us sees the other.
        if self._woken and not again:
            return
        self._woken = True
        try:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._collect)
        except RuntimeError:  # the loop is gone: this run was abandoned, it is no longer ours to settle
            self._woken = False

    # In the event loop

    def _hand_over(self, work: _Work) -> None:
        self._handed_over += 1
        self._work.put(work)
        if self._threads < self._under_way:
            if self._threads < AT_ONCE:
                self._start_threads(1)
            elif self._look is None:
                self._look_later()

    def _look_later(self) -> None:
        assert self._loop is not None
        taken = self._handed_over - self._work.qsize()
        self._look = self._loop.call_later(LOOK_EVERY, self._look_whether_threads_do, taken)

    def _look_whether_threads_do(self, taken_before: int) -> None:
        """Start more threads if those there are take up too little: they may all be blocked."""
        self._look = None
        waiting = self._work.qsize()
        if waiting == 0:
            return
        taken = self._handed_over - waiting - taken_before
        if taken * LOOKS < waiting:
            self._start_threads(min(waiting, self._threads, self._under_way - self._threads))
        self._look_later()

    def _start_threads(self, count: int) -> None:
        for _ in range(count):
            self._threads += 1
            threading.Thread(target=self._serve, name=f"pgjobs thread {self._threads}", daemon=True).start()

    def _collect(self) -> None:
        self._woken = False
        while self._done:
            work, outcome = self._done.popleft()
            if not work.settled:  # else an interruption struck while it was told, and it was told again
                self._settle(work, outcome)

    def _settle(self, work: _Work, outcome: Outcome) -> None:
        work.settled = True
        self._under_way -= 1
        if work.interrupted:
            self._threads -= 1
        if work.limit is not None:
            work.limit.cancel()
        if work in self.stuck:
            self.stuck.discard(work)
            log.warning("job %d (%s): its thread has come to an end after all", work.run.job.id, work.run.job.task)
        if not work.abandoned:
            self.ended(work.run, outcome)

    def _too_late(self, work: _Work) -> None:
        work.late = True
        self._ask(work)

    def _ask(self, work: _Work) -> None:
        assert self._loop is not None
        assert work.run.task is not None
        first, work.asked = not work.asked, True
        if work.run.context is not None:
            work.run.context._ask_to_stop()
        if work.run.task.options_.interrupt:
            work.interrupt()
        if first:
            self._loop.call_later(ASKED_FOR, self._look_after, work)

    def _look_after(self, work: _Work) -> None:
        if not work.settled:
            self.stuck.add(work)
            log.warning(
                "job %d (%s): its thread was asked to stop and does not; it keeps its slot. Let the handler call"
                " job.check(), or give the task executor='process'", work.run.job.id, work.run.job.task,
            )  # fmt: skip
            self._on_stuck()

    def _abandon(self, work: _Work) -> None:
        if not (work.settled or work.abandoned):
            work.abandoned = True
            self.ended(work.run, work.stopped())


class _Work:
    """One run in a thread, seen from both sides."""

    __slots__ = (
        "_executor", "_over", "_thread", "_variables",
        "abandoned", "asked", "interrupted", "late", "limit", "run", "settled",
    )  # fmt: skip

    def __init__(self, run: Run, executor: ThreadExecutor) -> None:
        self.run = run
        self.limit: asyncio.TimerHandle | None = None
        self.asked = self.late = self.interrupted = self.settled = self.abandoned = False
        self._executor = executor
        self._variables = executor.fresh_context()
        self._thread: int | None = None
        self._over = False

    def do(self) -> bool:
        """Run in the calling thread and tell the outcome; return whether the thread may be used again."""
        outcome: Outcome | None = None
        again = False
        while True:
            try:
                self._thread = threading.get_ident()
                if outcome is None and self.asked and not self._may_begin():
                    outcome = self.stopped()  # asked before it began: then there was no thread to interrupt yet
                if outcome is None:
                    before = forks.count
                    outcome = self._variables.run(self._call)
                    if forks.count != before:
                        end_fork(outcome)
                # I write `over` and read `interrupted`, the loop the other way round: one of us sees the other.
                self._over = True
                self._executor.tell(self, outcome, again)
                return not self.interrupted
            except JobInterrupted:  # just when the handler had come back; it strikes once
                again = True
                outcome = outcome or self.stopped()

    def interrupt(self) -> None:
        """Raise JobInterrupted in the thread, unless the handler has come back."""
        if self.interrupted or self._thread is None or self._over:
            return
        self.interrupted = True
        if not self._over:
            import ctypes

            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread), ctypes.py_object(JobInterrupted))

    def stopped(self) -> Outcome:
        """Return the outcome of a run that has heeded a request to stop."""
        context = self.run.context
        if self.late or (context is not None and context.expired):
            return timed_out(self.run.timeout)
        return Release()

    def _may_begin(self) -> bool:
        """Whether a run that was asked to stop before it began is to begin all the same, and to find out by itself."""
        assert self.run.task is not None
        return not self.run.task.options_.interrupt

    def _call(self) -> Outcome:
        run = self.run
        task, job = run.task, run.job
        assert task is not None
        try:
            result = call(task, job.payload, job.version, run.context)
            return DONE if result is None else Done(encode_result(result, task=task.name))
        except JobInterrupted as error:
            if self.asked or (run.context is not None and run.context.cancelled):
                return self.stopped()
            return task.options_.policy.outcome(error, job.attempts + 1)
        except BaseException as error:
            return task.options_.policy.outcome(error, job.attempts + 1)
