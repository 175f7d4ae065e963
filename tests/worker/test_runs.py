"""What a run costs in the worker, counted: without a database, by the worker's own runner and executors."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import pgjobs
from pgjobs.hooks import Hooks
from pgjobs.job import Claimed, Lease
from pgjobs.outcome import Cancelled, Done, Failed, Release
from pgjobs.task import ExecutorName
from pgjobs.worker import Worker, WorkerOptions
from pgjobs.worker.events import Events
from pgjobs.worker.executors import Executor, in_process
from pgjobs.worker.executors.in_loop import AsyncExecutor
from pgjobs.worker.executors.in_process import ProcessExecutor
from pgjobs.worker.executors.in_thread import AT_ONCE, ThreadExecutor
from pgjobs.worker.run import Run
from pgjobs.worker.runner import Runner
from tests.worker import crashing

JOBS = 1_000
PAYLOAD = '{"text": "' + "x" * 188 + '"}'
ENQUEUED = "2026-03-01 12:00:00+00"


class Loop(asyncio.SelectorEventLoop):
    """A loop that counts what is asked of it."""

    soon = threadsafe = 0

    def call_soon(self, *arguments: Any, **more: Any) -> Any:  # type: ignore[override]
        self.soon += 1
        return super().call_soon(*arguments, **more)

    def call_soon_threadsafe(self, *arguments: Any, **more: Any) -> Any:  # type: ignore[override]
        self.threadsafe += 1
        return super().call_soon_threadsafe(*arguments, **more)


class Line:
    """The runner with its executors, and what came of the runs."""

    def __init__(self) -> None:
        self.threads, self.children = ThreadExecutor(), ProcessExecutor()
        executors: dict[ExecutorName, Executor] = {
            "async": AsyncExecutor(), "thread": self.threads, "process": self.children,
        }  # fmt: skip
        self.runner = Runner(executors, Events(Hooks()), lambda lease, progress: None, self._ended)
        self.ended: list[Run] = []
        self.then: Callable[[], object] = lambda: None  # called when a run has ended
        self._enough = asyncio.Event()
        self._wanted = 0
        self._ids = 0

    def start(self, task: pgjobs.Task[..., Any], payload: str = PAYLOAD) -> Run:
        self._ids += 1
        name = task.name
        job = Claimed("claimed", self._ids, 1, "q", 0, None, name, payload, 0, 0, 0, None, None, ENQUEUED, None)
        run = Run(Lease(self._ids, 1, 1), job, task)
        self.runner.start(run)
        return run

    async def until(self, count: int) -> None:
        """Wait until so many runs have ended."""
        self._wanted = count
        self._enough.clear()
        if len(self.ended) < count:
            await asyncio.wait_for(self._enough.wait(), 60)

    async def close(self) -> None:
        await self.threads.close()
        await self.children.close()

    def _ended(self, run: Run) -> None:
        self.ended.append(run)
        self.then()
        if len(self.ended) >= self._wanted:
            self._enough.set()


Main = Callable[[Line], Awaitable[None]]


@pytest.fixture
def work() -> Callable[[Main], Loop]:
    """Run a test's coroutine with a line of its own in a loop that counts."""

    def work(main: Main) -> Loop:
        async def whole() -> None:
            line = Line()
            try:
                await main(line)
            finally:
                await line.close()

        with asyncio.Runner(loop_factory=Loop) as runner:
            loop = runner.get_loop()
            assert isinstance(loop, Loop)
            runner.run(whole())
            return loop

    return work


def noop_of(app: pgjobs.App, executor: str) -> pgjobs.Task[..., Any]:
    if executor == "process":
        return crashing.noop

    @app.task
    async def wait(text: str) -> None: ...

    @app.task
    def block(text: str) -> None: ...

    return wait if executor == "async" else block


Work = Callable[[Main], Loop]


# Measured: 10.0 and 6.0; a job as it was claimed is 2 of them.
@pytest.mark.parametrize(("executor", "blocks"), [("async", 11.5), ("thread", 7)])
def test_a_run_is_made_of_few_objects_and_leaves_nothing_for_the_garbage_collector(
    work: Work, executor: str, blocks: float
) -> None:
    noop = noop_of(pgjobs.App(), executor)

    async def main(line: Line) -> None:
        line.start(noop)
        await line.until(1)
        held: list[Any] = []
        line.threads._hand_over = held.append  # type: ignore[assignment, method-assign]
        gc.collect()
        gc.disable()
        try:
            before = sys.getallocatedblocks()
            for _ in range(JOBS):
                line.start(noop)
            assert (sys.getallocatedblocks() - before) / JOBS <= blocks
            del line.threads._hand_over
            while held:
                line.threads._hand_over(held.pop())
            await line.until(JOBS + 1)
            assert {type(run.outcome) for run in line.ended} == {Done}
            line.ended.clear()
            await asyncio.sleep(0)
            assert gc.collect() < 20  # of a loop and a test there is always something
        finally:
            gc.enable()

    work(main)


def test_a_run_in_the_loop_is_one_task_and_one_turn(work: Work) -> None:
    noop = noop_of(pgjobs.App(), "async")

    async def main(line: Line) -> None:
        for _ in range(JOBS):
            line.start(noop)
        await line.until(JOBS)
        assert {type(run.outcome) for run in line.ended} == {Done}

    loop = work(main)
    assert JOBS <= loop.soon < JOBS + 30


def test_runs_in_threads_need_no_tasks_few_threads_and_wake_the_loop_together(work: Work) -> None:
    noop = noop_of(pgjobs.App(), "thread")

    async def main(line: Line) -> None:
        begin = threading.Event()

        @pgjobs.App().task
        def hold(text: str) -> None:
            begin.wait()

        for _ in range(AT_ONCE):
            line.start(hold)
        for _ in range(JOBS):
            line.start(noop)
        begin.set()
        await line.until(JOBS + AT_ONCE)
        assert {type(run.outcome) for run in line.ended} == {Done}

    loop = work(main)
    assert loop.soon - loop.threadsafe < 30  # which the first calls the second for
    assert loop.threadsafe < JOBS / 2


def test_threads_that_block_are_joined_by_others(work: Work) -> None:
    at_once = 50
    all_here = threading.Barrier(at_once)

    @pgjobs.App().task
    def meet(text: str) -> None:
        all_here.wait(30)

    async def main(line: Line) -> None:
        for _ in range(at_once):
            line.start(meet)
        await line.until(at_once)
        assert {type(run.outcome) for run in line.ended} == {Done}
        assert line.threads._threads == at_once

    work(main)


def test_a_run_that_is_cut_short_before_it_began_has_ended(work: Work) -> None:
    noop = noop_of(pgjobs.App(), "async")

    async def main(line: Line) -> None:
        runs = [line.start(noop), line.start(noop)]
        line.runner.cut_short(runs[0])
        line.runner.cancel(runs[1], "ordered twice")
        await line.until(2)
        assert [run.outcome for run in runs] == [Release(), Cancelled("ordered twice")]

    work(main)


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_a_run_that_is_started_at_the_end_of_another_has_a_context_of_its_own(work: Work, executor: str) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")
    seen: list[str] = []

    @pgjobs.App().task
    async def wait(text: str) -> None:
        seen.append(variable.get())
        variable.set("of another run")

    @pgjobs.App().task
    def block(text: str) -> None:
        seen.append(variable.get())
        variable.set("of another run")

    task = wait if executor == "async" else block

    async def main(line: Line) -> None:
        variable.set("of the worker")
        line.then = lambda: line.start(task) if len(seen) < 5 else None
        line.start(task)
        await line.until(5)

    work(main)
    assert seen == ["of the worker"] * 5


def test_any_number_of_jobs_claimed_ahead_may_end_as_they_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR", "pgjobs")
    app = pgjobs.App()
    worker = Worker(app.tasks, "", WorkerOptions.make(app.tasks, ["q"], concurrency=10))
    jobs = [
        (Lease(id, 1, 1), Claimed("claimed", id, 1, "q", 0, None, "who", "{}", 0, 0, 0, None, None, ENQUEUED, None))
        for id in range(5_000)
    ]
    worker._runs.hold(jobs)
    worker._runs.begin(1)
    assert len(worker._outbox) == len(jobs)


# Children with several orders in hand


@pytest.fixture
def one_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process, "CORES", 1)
    monkeypatch.setattr(
        in_process, "LOOK_EVERY", 3600
    )  # more are only started, and orders taken back, when a test looks


async def warm(line: Line) -> None:
    """Let the children find out that runs are short."""
    for _ in range(200):
        line.start(crashing.noop)
    await line.until(200)
    line.ended.clear()


async def several_in_hand(line: Line, path: Path) -> list[Run]:
    """Start a run that waits at a named pipe, and others, which the only child has in hand behind it."""
    (child,) = line.children._all
    child.most = 8  # it has forgotten, if the machine was busy meanwhile
    runs = [line.start(crashing.read, f'{{"path": "{path}"}}'), *(line.start(crashing.noop) for _ in range(5))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert list(child.in_hand) == runs
    return runs


def test_each_run_in_a_child_is_one_order(work: Work, one_child: None) -> None:
    async def main(line: Line) -> None:
        await warm(line)
        (child,) = line.children._all
        assert child.jobs == 200

    work(main)


def test_nothing_waits_behind_a_run_that_turns_out_to_be_long(work: Work, one_child: None, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def main(line: Line) -> None:
        await warm(line)
        runs = await several_in_hand(line, fifo)
        async with asyncio.timeout(60):
            while len(line.ended) < 5:
                line.children._look_whether_children_do(line.children._answers)
                await asyncio.sleep(0)
        assert set(line.ended) == set(runs[1:])
        await asyncio.to_thread(fifo.write_text, "go on")
        await line.until(6)
        assert {type(run.outcome) for run in runs} == {Done}

    work(main)


def test_a_child_that_is_killed_costs_the_run_it_was_at_and_no_other(
    work: Work, one_child: None, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def main(line: Line) -> None:
        await warm(line)
        (child,) = line.children._all
        runs = await several_in_hand(line, fifo)
        holder = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)  # the handler is where it opens it too
        child.kill()
        await line.until(6)
        os.close(holder)
        assert [type(run.outcome) for run in runs] == [Failed, *[Done] * 5]
        assert isinstance(runs[0].outcome, Failed)
        assert runs[0].outcome.message == "its process was ended by SIGKILL"

    work(main)


def test_a_run_that_was_not_begun_can_be_cancelled_and_the_child_lives(
    work: Work, one_child: None, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def main(line: Line) -> None:
        await warm(line)
        runs = await several_in_hand(line, fifo)
        holder = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)
        assert line.runner.cancel(runs[3], "ordered twice")
        assert line.ended == [runs[3]]
        os.write(holder, b"go on")
        os.close(holder)
        await line.until(6)
        assert {type(run.outcome) for run in runs if run is not runs[3]} == {Done}
        assert runs[3].outcome == Cancelled("ordered twice")

    work(main)


def test_what_is_printed_belongs_to_its_job_however_many_a_child_has_in_hand(
    work: Work, one_child: None, caplog: pytest.LogCaptureFixture
) -> None:
    async def main(line: Line) -> None:
        await warm(line)
        for number in range(300):
            line.start(crashing.print_id, f'{{"aloud": {"true" if number % 3 == 0 else "false"}}}')
        await line.until(300)

    with caplog.at_level("INFO"):
        work(main)
    said = [record for record in caplog.records if hasattr(record, "stream")]
    assert len(said) == 200
    assert [record.getMessage() for record in said] == [str(record.__dict__["job"]) for record in said]


def test_a_large_order_is_done_among_small_ones(work: Work, one_child: None) -> None:
    async def main(line: Line) -> None:
        await warm(line)
        large = f'{{"text": "{"x" * 3_000_000}"}}'
        for number in range(30):
            line.start(crashing.noop, large if number % 10 == 5 else PAYLOAD)
        await line.until(30)
        assert {type(run.outcome) for run in line.ended} == {Done}

    work(main)
