"""What all executors promise alike: in the loop, in threads, in child processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import pgjobs
from pgjobs import Progress, Status
from tests.conftest import Connection
from tests.sql.by_hand import LOCKS, until
from tests.worker import conforming
from tests.worker.conftest import run

pytestmark = pytest.mark.parametrize("kind", conforming.KINDS)


class Bench:
    """The tasks for one executor, enqueued by the names they have in common, and a worker for them."""

    def __init__(self, app: pgjobs.App, kind: str, folder: Path) -> None:
        self.app = app
        self.kind = kind
        self._folder = folder

    def enqueue(self, name: str, **arguments: Any) -> int:
        task = self.app.tasks[f"{name}_{self.kind}"]
        return self.app.enqueue_many([task.spec(**arguments)])[0]

    def fifo(self, name: str = "here") -> Path:
        """A named pipe through which a handler tells that it is somewhere."""
        path = self._folder / name
        os.mkfifo(path)
        return path

    def job(self, id: int) -> pgjobs.Job:
        return self.app.job(id)

    def cancel(self, id: int, reason: str) -> None:
        with self.app.client() as client:
            while (done := client.cancel([id], reason)).locked:
                pass  # its progress is just being written
            assert done.asked == [id]

    @asynccontextmanager
    async def working(self, **options: Any) -> AsyncIterator[asyncio.Task[None]]:
        """Work until nothing is left, at the end of the block at the latest: a handler that does not end would hang."""
        worker = self.app.make_worker(["conforming"], drain=True, **options)
        running = asyncio.create_task(worker.run())
        yield running
        await running

    def drain(self) -> None:
        async def main() -> None:
            async with self.working(concurrency=2):
                pass

        run(main)


@pytest.fixture
def bench(app: pgjobs.App, kind: str, tmp_path: Path) -> Bench:
    for name, task in conforming.app.tasks.items():
        app.tasks[name] = task
    return Bench(app, kind, tmp_path)


async def told(fifo: Path) -> None:
    """Wait until the handler has told."""
    assert await asyncio.to_thread(fifo.read_text) == "here"


def test_a_handler_gets_its_arguments_and_its_context_and_its_result_is_kept(bench: Bench) -> None:
    id = bench.enqueue("describe", x=3)
    bench.drain()
    assert bench.job(id).result == [id, 1, 1, "conforming", 63, 0]


def test_each_run_has_context_variables_of_its_own(bench: Bench) -> None:
    ids = [bench.enqueue("remember") for _ in range(6)]
    bench.drain()
    assert [bench.job(id).result for id in ids] == [1] * 6


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("raise", "ValueError: broken"),
        ("retry", "Retry: once more"),
        ("exit", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt: "),
        ("recurse", "RecursionError: maximum recursion depth exceeded"),
        ("deadlock", "psycopg.errors.DeadlockDetected: deadlock detected"),
        ("object", "pgjobs.errors.InvalidResult: The result of end_"),
        ("huge", "pgjobs.errors.InvalidResult: The result of end_"),
    ],
)
def test_whatever_a_handler_raises_is_a_failed_attempt_and_the_worker_lives_on(
    bench: Bench, how: str, error: str
) -> None:
    id, other = bench.enqueue("end", how=how), bench.enqueue("describe")
    bench.drain()
    job = bench.job(id)
    assert (job.status, job.result, job.attempts, job.crashes) == (Status.COMPLETED, "again", 1, 0)
    (attempt,) = job.errors
    assert f"{attempt.error}: {attempt.message}".startswith(error)
    assert bench.job(other).status is Status.COMPLETED


@pytest.mark.parametrize(
    ("how", "ends"),
    [
        ("snooze", (Status.COMPLETED, 0, None)),
        ("cancel", (Status.CANCELLED, 0, "pointless")),
        ("fail", (Status.DEAD, 1, "failed: Fail: no use")),
        ("noise", (Status.COMPLETED, 0, None)),
    ],
)
def test_a_handler_may_say_more_than_a_result(bench: Bench, how: str, ends: tuple[Any, ...]) -> None:
    id = bench.enqueue("end", how=how)
    bench.drain()
    job = bench.job(id)
    assert (job.status, job.attempts, job.reason) == ends


def test_a_handler_is_stopped_at_its_timeout_and_has_failed(bench: Bench) -> None:
    fifo = bench.fifo()
    spec = bench.app.tasks[f"go_on_{bench.kind}"].options(timeout=timedelta(seconds=0.5)).spec(path=str(fifo))
    (id,) = bench.app.enqueue_many([spec])

    async def main() -> None:
        async with bench.working():
            await told(fifo)

    if bench.kind == "process":  # it may be killed before it could tell: then nobody would open the pipe
        holder = os.open(fifo, os.O_RDWR)
        bench.drain()
        os.close(holder)
    else:
        run(main)
    assert [error.error for error in bench.job(id).errors] == ["JobTimeout"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_run_that_somebody_cancels_is_stopped_and_does_not_come_back(
    bench: Bench, db: Connection, announced: bool
) -> None:
    fifo = bench.fifo()
    id, other = bench.enqueue("go_on", path=str(fifo)), bench.enqueue("describe")

    async def main() -> None:
        async with bench.working():
            await told(fifo)
            if announced:
                await asyncio.to_thread(bench.cancel, id, "ordered twice")
            else:  # I9: the request is in the row, and nobody says so
                db.execute(
                    "update pgjobs.jobs set cancel_asked_at = pgjobs.now(), cancel_reason = 'ordered twice' where id = %s",
                    (id,),
                )

    run(main)
    job = bench.job(id)
    assert (job.status, job.reason, job.attempts, job.run, job.errors) == (
        Status.CANCELLED, "ordered twice", 0, 1, (),
    )  # fmt: skip
    assert bench.job(other).status is Status.COMPLETED


def test_a_request_for_an_earlier_run_does_not_stop_its_successor(bench: Bench) -> None:
    id = bench.enqueue("end", how="snooze")
    bench.drain()
    with bench.app.client() as client:
        assert client.cancel([id]).asked == []
    assert bench.job(id).status is Status.COMPLETED


def test_a_stop_at_once_gives_the_job_back_uncounted(bench: Bench) -> None:
    fifo = bench.fifo()
    id = bench.enqueue("go_on", path=str(fifo))

    async def main() -> None:
        worker = bench.app.make_worker(["conforming"])
        running = asyncio.create_task(worker.run())
        await told(fifo)
        worker.stop()
        worker.stop()
        await running

    run(main)
    job = bench.job(id)
    assert (job.status, job.attempts, job.crashes, job.run) == (Status.READY, 0, 0, 1)


def test_a_run_that_was_cancelled_while_its_worker_stops_does_not_come_back_either(bench: Bench) -> None:
    fifo = bench.fifo()
    id = bench.enqueue("go_on", path=str(fifo))

    async def main() -> None:
        worker = bench.app.make_worker(["conforming"])
        running = asyncio.create_task(worker.run())
        await told(fifo)
        await asyncio.to_thread(bench.cancel, id, "ordered twice")
        worker.stop()
        worker.stop()
        await running

    run(main)
    assert (bench.job(id).status, bench.job(id).reason) == (Status.CANCELLED, "ordered twice")


def test_the_last_that_a_run_says_of_its_progress_is_kept_however_often_it_speaks(bench: Bench) -> None:
    id = bench.enqueue("say")
    bench.drain()
    job = bench.job(id)
    assert job.progress == Progress(1000, 1000, "counting")
    assert job.progress.fraction == 1


def test_progress_is_seen_while_the_job_runs(bench: Bench, db: Connection) -> None:
    fifo = bench.fifo()
    id = bench.enqueue("say", path=str(fifo))

    async def main() -> None:
        async with bench.working():
            await told(fifo)
            while (job := await asyncio.to_thread(bench.job, id)).progress != Progress(1000, 1000, "counting"):
                assert job.status is Status.RUNNING
            await asyncio.to_thread(bench.cancel, id, "seen")

    run(main)
    assert bench.job(id).progress == Progress(1000, 1000, "counting")


def test_a_generator_yields_its_progress_and_returns_its_result(bench: Bench) -> None:
    id = bench.enqueue("steps")
    bench.drain()
    job = bench.job(id)
    assert job.status is Status.COMPLETED
    assert job.progress == Progress(3, 4, "the last page")
    assert job.result == (None if bench.kind == "async" else "read")  # an asynchronous one cannot return anything


def test_a_generator_is_stopped_between_its_yields(bench: Bench, db: Connection) -> None:
    fifo = bench.fifo()
    id = bench.enqueue("steps", path=str(fifo))

    async def main() -> None:
        async with bench.working():
            await told(fifo)
            # What it said last is on its way; a child that is killed before it has arrived has said it to nobody.
            await asyncio.to_thread(until, db, "progress ->> 'message' = 'page 3' from pgjobs.jobs where id = %s", id)
            await asyncio.to_thread(bench.cancel, id, "enough")

    run(main)
    assert (bench.job(id).status, bench.job(id).progress) == (Status.CANCELLED, Progress(3, 4, "page 3"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yield_nonsense", "a task yields done, (done, total), (done, total, message) or a text, not dict"),
        ("say_nonsense", "progress is counted in finite numbers, not in nan"),
    ],
)
def test_nonsense_about_its_progress_is_a_failed_attempt(bench: Bench, name: str, message: str) -> None:
    id = bench.enqueue(name)
    bench.drain()
    assert bench.job(id).errors[0].message == message


def test_of_two_handlers_in_a_deadlock_one_fails_and_is_tried_again(bench: Bench, dsn: str, db: Connection) -> None:
    fifos = [bench.fifo("a"), bench.fifo("b")]
    ids = [
        bench.enqueue("lock_both", dsn=dsn, first=first, second=3 - first, path=str(fifo))
        for first, fifo in zip((1, 2), fifos, strict=True)
    ]
    each_has_its_first = f"(select count(*) from {LOCKS} where objsubid = 1 and granted and objid in (1, 2)) = 2"

    async def main() -> None:
        async with bench.working(concurrency=2):
            await asyncio.to_thread(until, db, each_has_its_first)
            await asyncio.gather(*map(told, fifos))

    run(main)
    jobs = [bench.job(id) for id in ids]
    assert [job.status for job in jobs] == [Status.COMPLETED] * 2
    assert [error.error for job in jobs for error in job.errors] == ["psycopg.errors.DeadlockDetected"]


def test_a_handler_that_loses_its_connection_has_failed(bench: Bench, dsn: str) -> None:
    id, other = bench.enqueue("close_connection", dsn=dsn), bench.enqueue("describe")
    bench.drain()
    assert bench.job(id).errors[0].error == "psycopg.OperationalError"
    assert bench.job(other).status is Status.COMPLETED
