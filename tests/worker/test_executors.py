"""Handlers in the loop, in threads and in children: what comes back, and what can be stopped."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import pgjobs
from pgjobs import Status
from pgjobs.job import Claimed, Lease
from pgjobs.outcome import Outcome, Release
from pgjobs.worker.executors.in_thread import ThreadExecutor, _Work
from pgjobs.worker.run import Run
from tests.worker import crashing

Drain = Callable[..., pgjobs.Worker]


@pytest.fixture
def children(app: pgjobs.App) -> pgjobs.App:
    """The tasks of the module for children, on the test's database."""
    for name, task in crashing.app.tasks.items():
        app.tasks[name] = task
    return app


def enqueue(app: pgjobs.App, task: pgjobs.Task[..., Any], **arguments: Any) -> int:
    return app.enqueue_many([task.spec(**arguments)])[0]


def test_a_coroutine_runs_in_the_loop_and_its_result_is_kept(app: pgjobs.App, drain: Drain) -> None:
    @app.task
    async def double(x: int) -> dict[str, int]:
        await asyncio.sleep(0)
        return {"twice": 2 * x}

    id = double.enqueue(x=21)
    drain()
    assert app.job(id).result == {"twice": 42}


def test_a_function_runs_in_a_thread_and_sees_the_context_of_its_worker(app: pgjobs.App, drain: Drain) -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="")
    var.set("from outside")

    @app.task
    def where() -> list[Any]:
        return [threading.current_thread() is threading.main_thread(), var.get()]

    id = where.enqueue()
    drain()
    assert app.job(id).result == [False, "from outside"]


def test_what_a_handler_sets_in_its_context_is_not_seen_by_the_next(app: pgjobs.App, drain: Drain) -> None:
    var: contextvars.ContextVar[int] = contextvars.ContextVar("leak", default=0)

    @app.task
    async def leak() -> int:
        seen = var.get()
        var.set(seen + 1)
        return seen

    @app.task
    def leak_in_thread() -> int:
        seen = var.get()
        var.set(seen + 1)
        return seen

    ids = app.enqueue_many([task.spec() for task in (leak, leak_in_thread) for _ in range(5)])
    drain(concurrency=1)
    assert [app.job(id).result for id in ids] == [0] * 10


def test_threads_are_used_again_and_never_more_than_the_slots(app: pgjobs.App, drain: Drain) -> None:
    seen: set[int] = set()
    at_once: list[int] = []
    running = 0
    lock = threading.Lock()

    @app.task
    def work() -> None:
        nonlocal running
        with lock:
            running += 1
            at_once.append(running)
        seen.add(threading.get_ident())
        with lock:
            running -= 1

    app.enqueue_many([work.spec() for _ in range(200)])
    drain(concurrency=3)
    assert len(seen) <= 3
    assert max(at_once) <= 3


def test_a_coroutine_is_cancelled_at_its_timeout_and_fails(app: pgjobs.App, drain: Drain) -> None:
    cancelled = []

    @app.task(timeout=0.05, max_attempts=1)
    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    id = for_ever.enqueue()
    drain()
    job = app.job(id)
    assert cancelled
    assert job.status == "dead"
    assert [(error.error, error.message) for error in job.errors] == [
        ("JobTimeout", "it ran longer than its timeout of 0:00:00.050000")
    ]


def test_a_timeout_error_of_the_handlers_own_is_not_taken_for_ours(app: pgjobs.App, drain: Drain) -> None:
    @app.task(timeout=60, max_attempts=1)
    async def upstream() -> None:
        raise TimeoutError("upstream is slow")

    id = upstream.enqueue()
    drain()
    assert app.job(id).errors[0].error == "TimeoutError"
    assert app.job(id).errors[0].message == "upstream is slow"


def test_a_handler_that_is_cancelled_from_within_has_failed(app: pgjobs.App, drain: Drain) -> None:
    @app.task(max_attempts=1)
    async def odd() -> None:
        raise asyncio.CancelledError

    id = odd.enqueue()
    drain()
    assert app.job(id).status == "dead"
    assert app.job(id).errors[0].message == "the handler was cancelled from within"


def test_a_thread_past_its_timeout_is_asked_and_fails_when_it_checks(app: pgjobs.App, drain: Drain) -> None:
    @app.task(timeout=0.05, max_attempts=1)
    def polite(job: pgjobs.JobContext) -> None:
        while True:
            job.check()

    id = polite.enqueue()
    drain()
    assert app.job(id).errors[0].error == "JobTimeout"


@pytest.mark.parametrize("kind", ["async", "thread"])
def test_exit_in_a_handler_is_a_failure_and_the_worker_goes_on(app: pgjobs.App, drain: Drain, kind: str) -> None:
    if kind == "async":

        @app.task(max_attempts=1)
        async def leave() -> None:
            raise SystemExit(3)
    else:

        @app.task(max_attempts=1)
        def leave() -> None:
            raise KeyboardInterrupt

    id = leave.enqueue()
    drain()
    assert app.job(id).errors[0].error == ("SystemExit" if kind == "async" else "KeyboardInterrupt")


def test_a_child_runs_functions_and_coroutines_and_is_used_again(children: pgjobs.App, drain: Drain) -> None:
    pids = [enqueue(children, crashing.pid) for _ in range(3)]
    sums = [enqueue(children, crashing.add, a=2, b=3), enqueue(children, crashing.add_later, a=20, b=3)]
    drain(["children"], concurrency=1)
    assert [children.job(id).result for id in sums] == [5, 23]
    seen = {children.job(id).result for id in pids}
    assert len(seen) == 1
    assert seen != {os.getpid()}


def test_a_child_that_crashes_is_a_failed_attempt_and_is_replaced(children: pgjobs.App, drain: Drain) -> None:
    ids = [
        enqueue(children, crashing.crash, signal_name="SIGSEGV"),
        enqueue(children, crashing.crash, signal_name="SIGKILL"),
        enqueue(children, crashing.leave, status=7),
        enqueue(children, crashing.say_exit),
    ]
    after = enqueue(children, crashing.add, a=1, b=1)
    drain(["children"], concurrency=1)
    said = [children.job(id).errors[0] for id in ids]
    assert [(error.error, error.message) for error in said] == [
        ("ProcessDied", "its process was ended by SIGSEGV"),
        ("ProcessDied", "its process was ended by SIGKILL"),
        ("ProcessDied", "its process ended with exit status 7"),
        ("SystemExit", "enough"),
    ]
    assert all(children.job(id).crashes == 0 for id in ids)
    assert children.job(after).result == 2


def test_a_fork_that_comes_back_from_a_handler_ends_and_settles_nothing(children: pgjobs.App, drain: Drain) -> None:
    ids = [
        enqueue(children, crashing.come_back_twice, program=None),
        enqueue(children, crashing.come_back_twice, program="/no/such/program"),
        enqueue(children, crashing.add, a=1, b=2),
    ]
    drain(concurrency=1)
    assert [children.job(id).result for id in ids] == [0, 1, 3]


@pytest.mark.filterwarnings("ignore:.*fork.* may lead to deadlocks:DeprecationWarning")
def test_a_fork_that_comes_back_from_a_handler_in_a_thread_ends(app: pgjobs.App, drain: Drain) -> None:
    @app.task
    def come_back_twice() -> int:
        fork = os.fork()
        if fork == 0:
            raise RuntimeError("from the fork")
        _, status = os.waitpid(fork, 0)
        return os.waitstatus_to_exitcode(status)

    id = come_back_twice.enqueue()
    drain()
    assert app.job(id).result == 1


@pytest.mark.filterwarnings("ignore:.*fork.* may lead to deadlocks:DeprecationWarning")
def test_a_fork_that_comes_back_from_a_coroutine_ends(app: pgjobs.App, drain: Drain) -> None:
    @app.task
    async def come_back_twice() -> str:
        fork = os.fork()
        if fork:
            os.waitpid(fork, 0)  # noqa: ASYNC222
        return "of the fork" if fork == 0 else "of the worker"

    ids = [come_back_twice.enqueue() for _ in range(3)]
    drain()
    assert [(app.job(id).result, app.job(id).run) for id in ids] == [("of the worker", 1)] * 3


def test_what_a_handler_in_a_child_starts_can_be_terminated(children: pgjobs.App, drain: Drain) -> None:
    id = enqueue(children, crashing.terminate)
    drain()
    assert children.job(id).result == [-signal.SIGTERM, -signal.SIGTERM]


def test_what_a_handler_in_a_child_has_started_is_killed_with_it(
    children: pgjobs.App, drain: Drain, tmp_path: Path
) -> None:
    id = enqueue(children, crashing.wait_for_a_program, path=str(tmp_path / "pid"))
    drain()
    assert [error.error for error in children.job(id).errors] == ["JobTimeout"]
    program = Path(f"/proc/{(tmp_path / 'pid').read_text()}/stat")
    deadline = time.monotonic() + 10
    while program.exists() and program.read_text().rpartition(")")[2].split()[0] not in "ZX":
        assert time.monotonic() < deadline, "it goes on"


def test_what_a_fork_says_of_its_progress_is_nobodys(children: pgjobs.App, drain: Drain) -> None:
    ids = [enqueue(children, crashing.progress_of_a_fork), enqueue(children, crashing.add, a=1, b=2)]
    drain(concurrency=1)
    assert [children.job(id).progress for id in ids] == [None, None]


def test_an_endless_loop_in_a_child_is_killed_at_its_timeout(children: pgjobs.App, drain: Drain) -> None:
    id = enqueue(children, crashing.spin)
    drain(["children"], concurrency=1)
    job = children.job(id)
    assert job.errors[0].error == "JobTimeout"
    assert (
        job.errors[0].failed_at - job.errors[0].started_at
    ).total_seconds() < 0.5 + 1 + 5  # the child's start counts


def test_a_child_knows_its_run_and_can_say_more_than_a_result(children: pgjobs.App, drain: Drain) -> None:
    first = enqueue(children, crashing.attempt)
    second = enqueue(children, crashing.snooze_once)
    drain(["children"], concurrency=1)
    assert children.job(first).result == [1, 3, first, 1]
    job = children.job(second)
    assert (job.result, job.run, job.attempts) == ("rested", 2, 0)


def test_stopping_at_once_kills_children_and_gives_their_jobs_back(children: pgjobs.App, tmp_path: Path) -> None:
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    id = enqueue(children, crashing.spin_telling, path=str(fifo))

    async def main() -> int:
        worker = children.make_worker(["children"], concurrency=1, grace=60)
        running = asyncio.create_task(worker.run())
        pid = int(await asyncio.to_thread(fifo.read_text))  # blocks until the handler writes
        worker.stop()
        worker.stop()
        await asyncio.wait_for(running, 30)
        return pid

    pid = asyncio.run(main())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    job = children.job(id)
    assert (job.status, job.attempts, job.crashes, job.run) == ("ready", 0, 0, 1)


def test_a_task_that_a_child_cannot_find_fails_with_a_sentence(app: pgjobs.App, drain: Drain) -> None:
    renamed = app.task(name="hidden", executor="process", max_attempts=1)(crashing_function)
    id = renamed.enqueue()
    drain()
    assert app.job(id).errors[0].error == "pgjobs.errors.UnknownTask"
    assert "A child process cannot find the task hidden" in app.job(id).errors[0].message


def crashing_function() -> None:
    """A plain function: the child finds it, but it is no task there."""


# What children print


def said(caplog: pytest.LogCaptureFixture, name: str) -> dict[str, list[str]]:
    """What was logged as printed by a task's jobs, by stream."""
    lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
    for record in caplog.records:
        if record.name == f"pgjobs.task.{name}" and hasattr(record, "stream"):
            lines[record.stream].append(record.getMessage())
    return lines


@pytest.mark.parametrize("end", ["return", "crash", "exit"])
def test_what_a_child_prints_is_logged_line_by_line_also_when_it_crashes(
    children: pgjobs.App, drain: Drain, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    id = enqueue(children, crashing.print_and, end=end)
    with caplog.at_level(logging.INFO):
        drain(["children"], concurrency=1)
    assert said(caplog, "print_and") == {
        "stdout": ["begun", "no newline yetfrom a grandchild"], "stderr": ["a warning"],
    }  # fmt: skip
    records = [record for record in caplog.records if hasattr(record, "stream")]
    assert {(record.__dict__["job"], record.__dict__["run"], record.__dict__["task"]) for record in records} == {
        (id, 1, "print_and")
    }
    assert {(record.__dict__["stream"], record.levelname) for record in records} == {
        ("stdout", "INFO"), ("stderr", "WARNING"),
    }  # fmt: skip


def test_a_segmentation_fault_says_where_it_was(
    children: pgjobs.App, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    id = enqueue(children, crashing.segfault)
    drain(["children"], concurrency=1)
    assert children.job(id).errors[0].message == "its process was ended by SIGSEGV"
    printed = "\n".join(said(caplog, "segfault")["stderr"])
    assert "Fatal Python error: Segmentation fault" in printed
    assert "crashing.py" in printed


def test_a_flood_of_output_is_logged_whole_and_stops_nothing(
    children: pgjobs.App, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    id = enqueue(children, crashing.flood, lines=5_000)
    with caplog.at_level(logging.INFO):
        drain(["children"], concurrency=1)
    assert children.job(id).result == "dry"
    lines = said(caplog, "flood")
    assert lines["stdout"] == ["x" * 100 + f" {number}" for number in range(5_000)]
    assert len(lines["stderr"]) == 5_000


def test_a_line_that_is_too_long_is_logged_in_parts(
    children: pgjobs.App, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    enqueue(children, crashing.long_line)
    with caplog.at_level(logging.INFO):
        drain(["children"], concurrency=1)
    parts = said(caplog, "long_line")["stdout"]
    assert [len(part) for part in parts[:-1]] == [8_192, 8_192]
    assert "".join(parts) == "z" * 20_000 + "\xe9"


# What children may take, and how they end


def test_a_child_that_takes_too_much_memory_is_a_failed_attempt_and_is_replaced(
    children: pgjobs.App, drain: Drain, tmp_path: Path
) -> None:
    fifo = tmp_path / "taken"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # so that the handler need not wait for one
    id, small = (
        enqueue(children, crashing.take, megabytes=400, path=str(fifo)),
        enqueue(children, crashing.take, megabytes=10),
    )
    drain(["children"], concurrency=1)
    os.close(reader)
    (error,) = children.job(id).errors
    assert error.error == "MemoryExceeded"
    assert re.fullmatch(r"its process took \d+ MB of memory, and its task may take 256 MB", error.message)
    assert children.job(small).status == "completed"


def test_a_child_is_replaced_after_as_many_jobs_as_its_task_says(children: pgjobs.App, drain: Drain) -> None:
    ids = [enqueue(children, crashing.pid_of_two) for _ in range(4)]
    drain(["children"], concurrency=1)
    pids = [children.job(id).result for id in ids]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_a_child_that_closes_its_connection_is_a_failed_attempt(children: pgjobs.App, drain: Drain) -> None:
    id, other = enqueue(children, crashing.close_everything), enqueue(children, crashing.add, a=1, b=2)
    drain(["children"], concurrency=1)
    assert children.job(id).errors[0].error == "ProcessDied"
    assert children.job(other).result == 3


@pytest.mark.parametrize("task", ["spin_telling", "hold_the_interpreter"])
def test_children_end_with_a_worker_that_is_killed_also_in_the_middle_of_a_handler(
    children: pgjobs.App, dsn: str, tmp_path: Path, task: str
) -> None:
    fifo = tmp_path / "pid"
    os.mkfifo(fifo)
    enqueue(children, crashing.app.tasks[task], path=str(fifo))
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.worker.crashing"],
        env={**os.environ, "PGJOBS_DSN": dsn}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        child = os.pidfd_open(int(fifo.read_text()))
        worker.kill()
        ended, _, _ = select.select([child], [], [], 30)
        assert ended
        os.close(child)
    finally:
        worker.kill()
        worker.wait()


# Threads that are asked to stop


async def stuck(worker: pgjobs.Worker, count: int) -> None:
    """Wait until so many threads of the worker do not stop though they were asked to."""
    async with asyncio.timeout(30):
        while worker.stats["stuck"] < count:
            worker._changed.clear()
            await worker._changed.wait()


def test_a_thread_that_may_be_interrupted_is_wherever_it_is_and_is_not_used_again(
    app: pgjobs.App, drain: Drain
) -> None:
    threads: list[threading.Thread] = []

    @app.task(timeout=0.05, max_attempts=1, interrupt=True)
    def spin() -> None:
        threads.append(threading.current_thread())
        while True:
            with suppress(Exception):  # JobInterrupted is none
                sum(range(100))

    @app.task
    def after() -> None:
        threads.append(threading.current_thread())

    id = app.enqueue_many([spin.spec(), after.spec()])[0]
    worker = drain(concurrency=1)
    assert app.job(id).errors[0].error == "JobTimeout"
    assert threads[0] is not threads[1]
    assert worker.stats["stuck"] == 0


def test_an_interruption_that_comes_when_the_handler_has_come_back_harms_nobody(app: pgjobs.App, drain: Drain) -> None:
    """It is raised by the clock, and handlers end at that very moment."""

    @app.task(timeout=0.02, max_attempts=1, interrupt=True)
    def end_in_time() -> None:
        ends = time.monotonic() + 0.02
        while time.monotonic() < ends:
            pass

    ids = app.enqueue_many([end_in_time.spec() for _ in range(100)])
    drain(concurrency=4)
    statuses = {app.job(id).status for id in ids}
    assert statuses <= {Status.COMPLETED, Status.DEAD}
    assert {error.error for id in ids for error in app.job(id).errors} <= {"JobTimeout"}


def test_a_thread_that_does_not_stop_keeps_its_lease_and_is_counted(app: pgjobs.App) -> None:
    go_on = threading.Event()

    @app.task(timeout=0.05, max_attempts=1)
    def deaf() -> str:
        go_on.wait()
        return "done late"

    id = deaf.enqueue()

    async def main() -> pgjobs.Worker:
        worker = app.make_worker(drain=True)
        running = asyncio.create_task(worker.run())
        await stuck(worker, 1)
        assert (await app.ajob(id)).status is Status.RUNNING
        go_on.set()
        await asyncio.wait_for(running, 30)
        await app.aclose()
        return worker

    worker = asyncio.run(main())
    assert worker.stats["stuck"] == 1
    assert app.job(id).result == "done late"


def test_a_worker_whose_threads_are_stuck_lets_the_rest_finish_and_ends(app: pgjobs.App) -> None:
    go_on = threading.Event()
    finish = asyncio.Event()
    others = []

    @app.task(timeout=0.05, max_attempts=2, retry=pgjobs.Fixed(3600))
    def deaf() -> None:
        go_on.wait()

    @app.task
    async def other() -> str:
        others.append(True)
        await finish.wait()
        return "finished"

    ids = app.enqueue_many([other.spec(), *[deaf.spec() for _ in range(3)]])
    late = None

    async def main() -> None:
        nonlocal late
        try:
            async with app.worker(concurrency={"async": 5, "thread": 5}, grace=60) as worker:
                await stuck(worker, 3)
                late = await other.aenqueue()
                finish.set()
                await asyncio.wait_for(worker._stop.asked.wait(), 30)
        finally:
            await app.aclose()

    with pytest.raises(pgjobs.WorkerStuck, match="3 of its threads would not stop"):
        asyncio.run(main())
    go_on.set()
    assert late is not None
    assert app.job(ids[0]).result == "finished"
    assert app.job(late).status is Status.READY
    assert [(app.job(id).status, app.job(id).errors[0].error) for id in ids[1:]] == [(Status.READY, "JobTimeout")] * 3


def test_a_handler_that_raises_the_interruption_by_itself_has_failed(app: pgjobs.App, drain: Drain) -> None:
    @app.task(max_attempts=1)
    def odd() -> None:
        raise pgjobs.JobInterrupted("nobody asked")

    id = odd.enqueue()
    drain()
    assert app.job(id).errors[0].message == "nobody asked"


def test_a_handler_that_completes_though_it_was_cancelled_is_completed(app: pgjobs.App) -> None:
    begun = asyncio.Event()

    @app.task
    async def stubborn() -> str:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "done all the same"

    id = stubborn.enqueue()

    async def main() -> None:
        running = asyncio.create_task(app.make_worker(drain=True).run())
        await begun.wait()
        async with app.aclient() as client:
            assert (await client.cancel([id], "no longer needed")).asked == [id]
        await asyncio.wait_for(running, 30)
        await app.aclose()

    asyncio.run(main())
    assert (app.job(id).status, app.job(id).result) == (Status.COMPLETED, "done all the same")


def test_an_interruption_that_is_asked_for_before_the_handler_has_begun_is_heeded(app: pgjobs.App) -> None:
    began: list[int] = []

    @app.task(interrupt=True)
    def work() -> None:
        began.append(1)

    class Later(ThreadExecutor):
        """One whose threads take up a run when the test says."""

        def __init__(self) -> None:
            super().__init__()
            self.handed: list[_Work] = []

        def _hand_over(self, work: _Work) -> None:
            self.handed.append(work)

    async def main() -> object:
        told: asyncio.Queue[Outcome] = asyncio.Queue()
        executor = Later()
        executor.ended = lambda run, outcome: told.put_nowait(outcome)
        now = datetime.now(UTC).isoformat()
        job = Claimed("claimed", 1, 1, "default", 0, None, "work", "{}", 0, 0, 0, None, None, now, None)
        run = Run(Lease(1, 1, 1), job, work)
        executor.start(run)
        executor.cancel(run)  # there is no thread yet that an interruption could strike
        await asyncio.to_thread(executor.handed[0].do)
        return await told.get()

    assert (asyncio.run(main()), began) == (Release(), [])
