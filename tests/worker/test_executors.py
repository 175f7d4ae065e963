"""Handlers in the loop, in threads and in children: what comes back, and what can be stopped."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pgjobs
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
