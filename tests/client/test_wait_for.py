"""`app.wait_for`: the result of a job when it is over, or what became of it; on one connection for all who wait."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest

import pgjobs
from pgjobs.waiting import thread
from tests.client.conftest import AsyncFace, Face
from tests.sql.by_hand import LOCKS, Connect, Worker, one, until

Connection = psycopg.Connection[Any]
Task = pgjobs.Task[..., Any]
Wait = Callable[..., "Future[Any]"]


@pytest.fixture
def worker(connect: Connect) -> Worker:
    """A worker driven by hand."""
    return Worker(connect(), ["ocr"])


def wait_for(face: Face, app: pgjobs.App, id: int, timeout: Any = 30) -> Any:
    """Wait, with a blocking call or in an event loop."""
    return face.do(app.await_for(id, timeout) if isinstance(face, AsyncFace) else app.wait_for(id, timeout))


@pytest.fixture
def wait(face: Face, app: pgjobs.App, db: Connection) -> Iterator[Wait]:
    """Let a thread wait for a job; return its future when it has begun to."""
    with ThreadPoolExecutor(1) as threads:

        def wait(id: int, timeout: Any = 30) -> Future[Any]:
            future = threads.submit(wait_for, face, app, id, timeout)
            until(db, f"exists (select from {LOCKS} where classid = 'pgjobs.job_history'::regclass and objid = 0)")
            return future

        yield wait


def watchers(db: Connection) -> int:
    """How many connections wait for jobs."""
    return int(
        one(
            db,
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name = 'pgjobs waiting'",
        )
    )


def threads_that_wait() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "pgjobs waiting"]


# What it returns and raises


def test_a_job_that_is_over_already_is_told_at_once_and_nothing_is_left_behind(
    face: Face, app: pgjobs.App, task: Task, worker: Worker, db: Connection
) -> None:
    id = face.enqueue(task, letter_id=7)
    worker.complete(worker.claim_one(), results=['{"letter": 7}'])
    assert wait_for(face, app, id) == {"letter": 7}
    assert wait_for(face, app, id, timeout=0) == {"letter": 7}
    assert watchers(db) == 0


def test_the_result_comes_when_the_job_completes(face: Face, task: Task, worker: Worker, wait: Wait) -> None:
    id = face.enqueue(task, letter_id=7)
    waiting = wait(id)
    job = worker.claim_one()
    assert not waiting.done()
    worker.complete(job, results=["[1, null]"])
    assert waiting.result(10) == [1, None]


def test_a_job_without_a_result_returns_none(face: Face, task: Task, worker: Worker, wait: Wait) -> None:
    waiting = wait(face.enqueue(task, letter_id=7))
    worker.complete(worker.claim_one())
    assert waiting.result(10) is None


def test_retries_and_snoozes_are_waited_out(face: Face, task: Task, worker: Worker, wait: Wait) -> None:
    waiting = wait(face.enqueue(task, letter_id=7))
    worker.settle(worker.claim_one(), "retry", delay=0, max_attempts=3)
    worker.settle(worker.claim_one(), "snooze", delay=0)
    worker.release(worker.claim_one())
    job = worker.claim_one()
    assert not waiting.done()
    worker.complete(job, results=["1"])
    assert waiting.result(10) == 1


def test_a_dead_letter_raises_with_its_reason_and_its_error(
    face: Face, app: pgjobs.App, task: Task, worker: Worker, wait: Wait
) -> None:
    id = face.enqueue(task, letter_id=7)
    waiting = wait(id)
    worker.settle(worker.claim_one(), "retry", max_attempts=1, error="ValueError", message="no such page")
    again: Callable[[], Any] = lambda: wait_for(face, app, id)  # noqa: E731
    for told in (waiting.result, again):
        with pytest.raises(
            pgjobs.JobDead, match=rf"^Job {id} is dead \(exhausted\): ValueError: no such page$"
        ) as dead:
            told()
        assert (dead.value.id, dead.value.reason, dead.value.error) == (id, "exhausted", "ValueError: no such page")


def test_a_cancelled_job_raises_with_its_reason(face: Face, app: pgjobs.App, task: Task, wait: Wait) -> None:
    id = face.enqueue(task, letter_id=7)
    waiting = wait(id)
    with app.client() as client:
        assert client.cancel([id], "ordered twice").cancelled == [id]
    again: Callable[[], Any] = lambda: wait_for(face, app, id)  # noqa: E731
    for told in (waiting.result, again):
        with pytest.raises(pgjobs.JobCancelled, match=rf"^Job {id} was cancelled: ordered twice$") as cancelled:
            told()
        assert (cancelled.value.id, cancelled.value.reason) == (id, "ordered twice")


def test_a_job_of_which_nothing_is_kept_says_so(face: Face, task: Task, worker: Worker, wait: Wait) -> None:
    id = face.enqueue(task, letter_id=7)
    waiting = wait(id)
    worker.complete(worker.claim_one(), keep=[False])
    with pytest.raises(pgjobs.JobNotFound, match=rf'^Job {id} is over and nothing is kept of it: .* keep="nothing"'):
        waiting.result(10)


def test_a_job_that_is_not_there_is_told_at_once(face: Face, app: pgjobs.App, task: Task) -> None:
    connection = face.connect()
    uncommitted = face.enqueue(task.options(tx=connection), letter_id=7)
    for id in (uncommitted, 2**40, 2**70, -1):
        with (
            app.using(connection),
            pytest.raises(pgjobs.JobNotFound, match=rf"^There is no job with the id {id}: .*has not committed"),
        ):
            wait_for(face, app, id)


def test_who_has_waited_long_enough_is_told_and_the_job_goes_on(
    face: Face, app: pgjobs.App, task: Task, worker: Worker, db: Connection
) -> None:
    id = face.enqueue(task, letter_id=7)
    for timeout in (0.05, timedelta(milliseconds=50), 0):
        with pytest.raises(TimeoutError, match=rf"^Job {id} was not over within (0.05|0) s; it goes on\.$") as error:
            wait_for(face, app, id, timeout)
        assert isinstance(error.value, pgjobs.WaitTimeout)
    worker.complete(worker.claim_one(), results=["1"])
    assert wait_for(face, app, id) == 1


def test_waiting_may_take_for_ever(face: Face, task: Task, worker: Worker, wait: Wait) -> None:
    waiting = wait(face.enqueue(task, letter_id=7), None)
    worker.complete(worker.claim_one())
    assert waiting.result(10) is None


@pytest.mark.parametrize("timeout", ["soon", object(), float("nan")])
def test_a_timeout_that_makes_no_sense_is_refused(face: Face, app: pgjobs.App, timeout: Any) -> None:
    with pytest.raises(pgjobs.ConfigurationError, match=r"^timeout must be seconds, a timedelta or None, not .*\.$"):
        wait_for(face, app, 1, timeout)


# How it learns


def test_who_waits_holds_no_snapshot(face: Face, task: Task, worker: Worker, wait: Wait, db: Connection) -> None:
    waiting = wait(face.enqueue(task, letter_id=7))
    until(
        db,
        "exists (select from pg_stat_activity where application_name = 'pgjobs waiting' and state = 'idle'"
        " and datname = current_database() and backend_xmin is null)",
    )
    worker.complete(worker.claim_one())
    waiting.result(10)


def test_what_is_never_told_is_found_by_looking(
    face: Face, own_database: None, task: Task, worker: Worker, wait: Wait, db: Connection
) -> None:
    db.execute("create or replace function pgjobs.tell_finished(p_ids bigint[]) returns void language sql as ''")
    waiting = wait(face.enqueue(task, letter_id=7))
    worker.complete(worker.claim_one(), results=["1"])
    assert waiting.result(20) == 1


def test_what_finished_while_the_connection_was_broken_is_found(
    face: Face, app: pgjobs.App, task: Task, worker: Worker, wait: Wait, db: Connection
) -> None:
    waiting = wait(face.enqueue(task, letter_id=7))
    for _ in range(3):
        until(db, "exists (select from pg_stat_activity where application_name = 'pgjobs waiting' and state = 'idle'"
                  " and datname = current_database())")  # fmt: skip
        db.execute(
            "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = 'pgjobs waiting'"
            " and datname = current_database()"
        )
    worker.complete(worker.claim_one(), results=["1"])
    assert waiting.result(20) == 1


def test_a_trouble_that_does_not_pass_is_told(
    face: Face, own_database: None, task: Task, wait: Wait, db: Connection
) -> None:
    waiting = wait(face.enqueue(task, letter_id=7))
    db.execute("alter function pgjobs.watch_v1 rename to watch_v0")
    with pytest.raises(pgjobs.SchemaTooOld, match="run `pgjobs migrate`"):
        waiting.result(20)


# Who shares what


def test_all_who_wait_in_a_process_share_one_connection(
    app: pgjobs.App, task: Task, worker: Worker, db: Connection
) -> None:
    ids = app.enqueue_many([task.spec(letter_id=number) for number in range(120)])

    def wait_in_loop(ids: list[pgjobs.JobId]) -> list[Any]:
        async def main() -> list[Any]:
            results = await asyncio.gather(*(app.await_for(id) for id in ids))
            pool = app._transactions.pools._async.pop(asyncio.get_running_loop())
            await pool.close()  # not app.aclose(): others wait still
            return results

        return asyncio.run(main())

    with ThreadPoolExecutor(22) as pool:
        waiting = [pool.submit(app.wait_for, id) for id in ids[:20]]
        loops = [pool.submit(wait_in_loop, ids[20:]) for _ in range(2)]
        until(
            db,
            f"(select count(*) from {LOCKS} where classid = 'pgjobs.job_history'::regclass) = 121",
        )
        assert watchers(db) == 1
        assert len(threads_that_wait()) == 1
        jobs = worker.claim(200)
        worker.complete(*jobs, results=[str(job.id) for job in jobs])
        assert [each.result(10) for each in waiting] == ids[:20]
        assert [each.result(10) for each in loops] == [ids[20:]] * 2
    until(db, f"not exists (select from {LOCKS} where classid = 'pgjobs.job_history'::regclass)")


def test_two_who_wait_for_one_job_do_not_mind_each_other(
    app: pgjobs.App, task: Task, worker: Worker, db: Connection
) -> None:
    id = task.enqueue(letter_id=7)
    with ThreadPoolExecutor(2) as pool:
        patient = pool.submit(app.wait_for, id)
        with pytest.raises(pgjobs.WaitTimeout):
            app.wait_for(id, 0.05)
        until(db, f"exists (select from {LOCKS} where objid > 0 and classid = 'pgjobs.job_history'::regclass)")
        worker.complete(worker.claim_one(), results=["1"])
        assert patient.result(10) == 1


def test_a_cancelled_asyncio_task_waits_no_longer(app: pgjobs.App, task: Task, db: Connection) -> None:
    async def main() -> None:
        id = await task.aenqueue(letter_id=7)
        waiting = asyncio.create_task(app.await_for(id))
        await asyncio.to_thread(until, db, f"exists (select from {LOCKS} where objid > 0)")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.to_thread(until, db, f"not exists (select from {LOCKS})")
        await app.aclose()

    asyncio.run(main())


def test_connection_and_thread_end_when_nobody_has_waited_for_a_while_and_begin_again(
    face: Face, app: pgjobs.App, task: Task, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "IDLE", 0.05)
    id = face.enqueue(task, letter_id=7)
    for _ in range(2):
        with pytest.raises(pgjobs.WaitTimeout):
            wait_for(face, app, id, 0.1)
        until(
            db,
            "not exists (select from pg_stat_activity where application_name = 'pgjobs waiting'"
            " and datname = current_database())",
        )
        for each in threads_that_wait():
            each.join(10)
        assert threads_that_wait() == []


def test_closing_the_app_tells_who_waits(face: Face, app: pgjobs.App, task: Task, wait: Wait) -> None:
    waiting = wait(face.enqueue(task, letter_id=7))
    app.close()
    with pytest.raises(pgjobs.ConnectionFailed, match=r"^The app was closed while a job was waited for\.$"):
        waiting.result(10)
    assert threads_that_wait() == []


@pytest.mark.skipif(sys.platform != "linux", reason="fork is not what processes begin with here")
def test_a_forked_child_waits_on_a_connection_of_its_own(
    app: pgjobs.App, task: Task, worker: Worker, db: Connection
) -> None:
    mine, childs = task.enqueue(letter_id=1), task.enqueue(letter_id=2)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(app.wait_for, mine)
        until(db, f"exists (select from {LOCKS} where objid = 0)")

        def work() -> None:
            assert app.wait_for(childs) == 2
            app.close()

        child = multiprocessing.get_context("fork").Process(target=work)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that we have threads
            child.start()
        until(db, f"(select count(*) from {LOCKS} where objid = 0) = 2")
        first, second = worker.claim()
        worker.complete(second, results=["2"])
        child.join(30)
        assert child.exitcode == 0
        worker.complete(first, results=["1"])
        assert waiting.result(10) == 1


# In earnest


def test_a_handler_may_wait_for_another_job_if_there_is_a_place_for_it(dsn: str) -> None:
    app = pgjobs.App(dsn)

    @app.task
    async def double(number: int) -> int:
        return 2 * number

    @app.task
    async def add_doubles(first: int, second: int) -> int:
        ids = await app.aenqueue_many([double.spec(first), double.spec(second)])
        return sum(await asyncio.gather(*(app.await_for(id) for id in ids)))

    @app.task
    def add_doubles_in_a_thread(first: int, second: int) -> int:
        return sum(app.wait_for(id) for id in app.enqueue_many([double.spec(first), double.spec(second)]))

    async def main() -> None:
        async with app.worker(concurrency=4):
            for task in (add_doubles, add_doubles_in_a_thread):
                id = await task.aenqueue(1, 2)
                assert await app.await_for(id) == 6
        await app.aclose()

    asyncio.run(main())
