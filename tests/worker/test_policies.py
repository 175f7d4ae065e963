"""Policies at work, in every executor: which exceptions are tried again, after how long, until when, and who is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import pgjobs
from pgjobs import Retry
from tests.conftest import Clock
from tests.worker import policing
from tests.worker.test_executors import stuck

Drain = Callable[..., pgjobs.Worker]
EXECUTORS = ["async", "thread", "process"]


@pytest.fixture
def children(app: pgjobs.App) -> pgjobs.App:
    """The tasks of the module for children, on the test's database."""
    app.tasks.update(policing.app.tasks)
    return app


def declare(app: pgjobs.App, executor: str, like: pgjobs.Task[..., Any]) -> pgjobs.Task[..., Any]:
    """Return a task of this executor that does what the one for children does."""
    if executor == "process":
        app.tasks[like.name] = like
        return like
    options = like.options_
    policy = options.policy
    more: dict[str, Any] = {
        "name": like.name, "max_attempts": options.max_attempts, "timeout": options.timeout, "retry": policy.retry,
        "retry_on": policy.retry_on, "fail_on": policy.fail_on,
    }  # fmt: skip

    async def in_loop(**arguments: Any) -> Any:
        result = like.function(**arguments)
        return await result if like.is_coroutine else result

    def in_thread(**arguments: Any) -> Any:
        result = like.function(**arguments)
        return asyncio.run(result) if like.is_coroutine else result

    return app.task(**more)(in_loop if executor == "async" else in_thread)


def ends(
    app: pgjobs.App, drain: Drain, task: pgjobs.Task[..., Any], names: list[str]
) -> dict[str, tuple[str, int, str]]:
    """Run a job with each of these arguments; return how they end."""
    argument = "what" if "what" in policing_names(task) else "name"
    ids = dict(zip(names, app.enqueue_many([task.spec(**{argument: name}) for name in names]), strict=True))
    drain()
    return {
        name: (str(job.status), job.attempts, job.reason or "") for name, id in ids.items() for job in [app.job(id)]
    }


def policing_names(task: pgjobs.Task[..., Any]) -> set[str]:
    return {"what"} if task.name.startswith("say") else {"name"}


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("how", ["say", "say_in_a_group"])
def test_what_a_handler_says_is_heard(app: pgjobs.App, drain: Drain, executor: str, how: str) -> None:
    task = declare(app, executor, policing.app[how])
    assert ends(app, drain, task, ["snooze", "retry", "cancel", "fail"]) == {
        "snooze": ("ready", 0, ""),
        "retry": ("dead", 2, "exhausted: Retry: again"),
        "cancel": ("cancelled", 0, "enough"),
        "fail": ("dead", 1, "failed: Fail: no use"),
    }


@pytest.mark.parametrize("executor", EXECUTORS)
def test_exceptions_are_judged_where_the_handler_ran(app: pgjobs.App, drain: Drain, executor: str) -> None:
    task = declare(app, executor, policing.app["fail_with"])
    assert ends(app, drain, task, ["OSError", "FileNotFoundError", "ValueError"]) == {
        "OSError": ("dead", 2, "exhausted: OSError: OSError"),
        "FileNotFoundError": ("dead", 1, "failed: FileNotFoundError: FileNotFoundError"),
        "ValueError": ("dead", 1, "failed: ValueError: ValueError"),
    }


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_wait_is_computed_where_the_handler_ran(app: pgjobs.App, drain: Drain, clock: Clock, executor: str) -> None:
    task = declare(app, executor, policing.app["wait_as_computed"])
    id = app.enqueue_many([task.spec()])[0]
    for seconds in 100, 200:
        drain()
        job = app.job(id)
        assert job.available_at is not None
        assert job.available_at - job.errors[-1].failed_at == timedelta(seconds=seconds)
        clock.advance(timedelta(seconds=seconds))
    drain()
    assert app.job(id).status is pgjobs.Status.DEAD


@pytest.mark.parametrize("executor", ["async", "process"])
def test_a_timeout_is_a_job_timeout_to_a_policy(app: pgjobs.App, drain: Drain, executor: str) -> None:
    if executor == "process":
        app.tasks["take_too_long"] = policing.app["take_too_long"]
        id = app.enqueue_many([policing.app["take_too_long"].spec()])[0]
    else:

        @app.task(retry_on=OSError, timeout=0.05, retry=[0])
        async def take_too_long() -> None:
            await asyncio.Event().wait()

        id = take_too_long.enqueue()
    drain()
    assert (app.job(id).reason or "").startswith("failed: JobTimeout: it ran longer")


def test_the_timeout_of_a_thread_that_does_not_stop_is_judged_too(app: pgjobs.App) -> None:
    go_on = threading.Event()

    @app.task(retry_on=OSError, timeout=0.05, retry=[0])
    def deaf() -> None:
        go_on.wait()

    id = deaf.enqueue()

    async def main() -> None:
        worker = app.make_worker()
        running = asyncio.create_task(worker.run())
        await stuck(worker, 1)
        worker.stop()
        await running

    asyncio.run(asyncio.wait_for(main(), 60))
    go_on.set()
    assert (app.job(id).reason or "").startswith("failed: JobTimeout: it ran longer")


def test_a_handler_that_cancels_itself_is_judged_too(app: pgjobs.App, drain: Drain) -> None:
    @app.task(retry_on=OSError)
    async def give_in() -> None:
        raise asyncio.CancelledError

    id = give_in.enqueue()
    drain()
    assert app.job(id).reason == "failed: asyncio.CancelledError: the handler was cancelled from within"


def test_a_payload_that_does_not_fit_is_judged_too(app: pgjobs.App, drain: Drain) -> None:
    @app.task(fail_on=pgjobs.InvalidPayload)
    async def strict(x: int) -> None: ...

    id = app.enqueue_spec(pgjobs.Spec("strict", '{"y": 1}'))
    drain()
    assert (app.job(id).reason or "").startswith("failed: pgjobs.errors.InvalidPayload")


def test_no_retry_is_begun_after_the_time_to_give_up(app: pgjobs.App, drain: Drain, clock: Clock) -> None:
    @app.task(max_attempts=100, retry=[60], give_up_after=timedelta(minutes=3))
    async def try_on() -> None:
        raise ValueError("no")

    id = try_on.enqueue()
    attempts = 0
    while app.job(id).status is not pgjobs.Status.DEAD:
        drain()
        attempts += 1
        clock.advance(timedelta(minutes=1))
    assert attempts == 3  # at once, after one minute, after two; a fourth would begin after more than three
    assert app.job(id).reason == "gave_up: ValueError: no"


def test_a_retry_asked_for_by_the_handler_counts_like_others(app: pgjobs.App, drain: Drain) -> None:
    @app.task(give_up_after=60)
    async def ask() -> None:
        raise Retry(61, "later")

    @app.task(max_attempts=1)
    async def ask_once() -> None:
        raise Retry(1, "later")

    ids = [ask.enqueue(), ask_once.enqueue()]
    drain()
    assert [app.job(id).reason for id in ids] == ["gave_up: Retry: later", "exhausted: Retry: later"]


# On failure


def test_the_task_named_by_on_failure_is_told_of_every_death(app: pgjobs.App, drain: Drain) -> None:
    heard: list[pgjobs.FailedJob] = []

    @app.task(queue="told", priority=pgjobs.Priority.HIGH)
    async def tell(failed: pgjobs.FailedJob) -> None:
        heard.append(failed)

    @app.task(on_failure=tell, max_attempts=2, retry=[0])
    async def fall(how: str) -> None:
        if how == "fail":
            raise pgjobs.Fail("no use")
        if how == "cancel":
            raise pgjobs.Cancel("enough")
        raise ValueError(how)

    ids = {how: fall.options(metadata={"how": how}).enqueue(how) for how in ("fail", "raise", "cancel")}
    drain()
    assert {failed["job_id"]: (failed["reason"], failed["error"], failed["attempts"]) for failed in heard} == {
        ids["fail"]: ("failed", "Fail: no use", 1),
        ids["raise"]: ("exhausted", "ValueError: raise", 2),
    }
    for failed in heard:
        assert (failed["task"], failed["queue"]) == ("fall", "default")
        assert failed["payload"] == failed["metadata"]


def test_a_task_that_is_told_of_its_own_kind_is_not_told_for_ever(app: pgjobs.App, drain: Drain) -> None:
    heard: list[str] = []

    @app.task(on_failure="tell", max_attempts=1)
    def tell(failed: dict[str, Any]) -> None:
        heard.append(failed["task"])
        raise ValueError("deaf")

    id = app.enqueue_spec(pgjobs.Spec("tell", '{"failed": {"task": "nobody"}}'))
    worker = drain()
    assert heard == ["nobody", "tell"]
    assert worker.stats["failed"] == 2
    assert app.job(id).status is pgjobs.Status.DEAD
