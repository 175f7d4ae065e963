"""A worker's life on a real database: wake-ups, refills, retries, stops, and what happens when connections die."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NoReturn

import psycopg
import pytest

import pgjobs
from pgjobs import Cancel, Fail, Fixed, Retry, Snooze
from pgjobs.async_client import AsyncClient
from pgjobs.payload import encode_result
from pgjobs.testing import break_connections, losing_replies
from tests.conftest import Clock, Connection
from tests.sql.by_hand import until
from tests.worker.conftest import run

Drain = Callable[..., pgjobs.Worker]
LATER = timedelta(hours=1)
RENEWED = "supervisor is not null from pgjobs.workers"  # its keeper has begun, and renews again in ten seconds only


# Outcomes


def test_every_outcome_of_a_handler_ends_where_it_says(app: pgjobs.App, drain: Drain) -> None:
    @app.task(max_attempts=2, retry=Fixed(0))
    async def play(part: str) -> str:
        match part:
            case "retry":
                raise Retry(0, "once more")
            case "fail":
                raise Fail("no use")
            case "cancel":
                raise Cancel("not needed")
            case "raise":
                raise ValueError("broken")
        return "done"

    ids = {part: play.enqueue(part) for part in ("done", "retry", "fail", "cancel", "raise")}
    drain()
    jobs = {part: app.job(id) for part, id in ids.items()}
    assert {part: (str(job.status), job.attempts, job.reason) for part, job in jobs.items()} == {
        "done": ("completed", 0, None),
        "retry": ("dead", 2, "exhausted: Retry: once more"),
        "fail": ("dead", 1, "failed: Fail: no use"),
        "cancel": ("cancelled", 0, "not needed"),
        "raise": ("dead", 2, "exhausted: ValueError: broken"),
    }
    assert "ValueError: broken" in (jobs["raise"].errors[1].traceback or "")


def test_outcomes_pass_through_an_except_exception_of_the_handler(app: pgjobs.App, drain: Drain) -> None:
    @app.task
    def careless() -> None:
        try:
            raise Cancel("enough")
        except Exception:
            raise AssertionError("swallowed") from None

    id = careless.enqueue()
    drain()
    assert app.job(id).status == "cancelled"


def test_a_snoozed_job_comes_again_at_its_time_and_is_not_counted(app: pgjobs.App, drain: Drain, clock: Clock) -> None:
    @app.task(max_attempts=1)
    async def nap(job: pgjobs.JobContext) -> int:
        if job.run == 1:
            raise Snooze(LATER)
        return job.attempt

    id = nap.enqueue()
    drain()
    job = app.job(id)
    assert job.status == "ready"
    assert job.available_at is not None
    assert job.available_at - job.enqueued_at > LATER - timedelta(seconds=5)
    drain()
    assert app.job(id).status == "ready"
    clock.advance(LATER)
    drain()
    assert app.job(id).result == 1


def test_a_failed_job_waits_as_its_backoff_says(app: pgjobs.App, drain: Drain, clock: Clock) -> None:
    @app.task(retry=pgjobs.Linear(100), max_attempts=3)
    def fail() -> None:
        raise RuntimeError("no")

    id = fail.enqueue()
    waits = []
    for _ in range(2):
        drain()
        job = app.job(id)
        assert job.available_at is not None
        waits.append((job.available_at - job.errors[-1].failed_at).total_seconds())
        clock.advance(timedelta(seconds=waits[-1]))
    drain()
    assert waits == pytest.approx([100, 200])
    assert app.job(id).status == "dead"


def test_the_jobs_own_settings_go_before_the_tasks(app: pgjobs.App, drain: Drain) -> None:
    @app.task(max_attempts=5, timeout=600)
    async def read(job: pgjobs.JobContext) -> list[Any]:
        assert job.timeout is not None
        return [job.max_attempts, job.timeout.total_seconds(), job.metadata]

    ids = [read.enqueue(), read.options(max_attempts=2, timeout=7, metadata={"by": "me"}).enqueue()]
    drain()
    assert [app.job(id).result for id in ids] == [[5, 600, None], [2, 7, {"by": "me"}]]


def test_plain_sql_gets_the_tasks_defaults(app: pgjobs.App, drain: Drain, db: Connection) -> None:
    @app.task(max_attempts=1)
    async def fail_once(x: int) -> None:
        raise ValueError(x)

    [(id,)] = db.execute("""select pgjobs.enqueue('fail_once', '{"x": 1}')""").fetchall()
    drain()
    assert app.job(id).status == "dead"


def test_a_job_whose_task_nobody_knows_is_left_for_later_uncounted(
    app: pgjobs.App, drain: Drain, db: Connection, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    [(id,)] = db.execute("select pgjobs.enqueue('who')").fetchall()
    waits = []
    for _ in range(12):
        before = db.execute("select pgjobs.now()").fetchone()
        drain(["default"])
        job = app.job(id)
        assert (job.status, job.attempts) == ("ready", 0)
        assert job.available_at is not None
        assert before is not None
        waits.append(round((job.available_at - before[0]).total_seconds() / 5))
        clock.advance(timedelta(seconds=3600))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 720, 720]
    assert "this worker has no task 'who'" in caplog.text

    @app.task
    async def who() -> str:
        return "me"

    drain()
    assert app.job(id).result == "me"


def test_a_payload_that_does_not_fit_the_task_fails_with_a_sentence(
    app: pgjobs.App, drain: Drain, db: Connection
) -> None:
    @app.task(max_attempts=1)
    async def strict(x: int) -> None: ...

    [(id,)] = db.execute("""select pgjobs.enqueue('strict', '{"y": 1}')""").fetchall()
    drain()
    assert app.job(id).reason == "exhausted: pgjobs.errors.InvalidPayload: strict has no argument 'y'; it takes x."


def test_a_result_that_is_not_json_is_a_failed_attempt(app: pgjobs.App, drain: Drain) -> None:
    @app.task(max_attempts=1)
    async def odd() -> object:
        return {"when": object()}

    @app.task(max_attempts=1)
    def nul() -> str:
        return "a\0b"

    ids = [odd.enqueue(), nul.enqueue()]
    drain()
    assert [app.job(id).errors[0].error for id in ids] == ["pgjobs.errors.InvalidResult"] * 2
    assert "NUL" in app.job(ids[1]).errors[0].message


def test_an_exception_that_cannot_be_printed_is_still_a_failed_attempt(app: pgjobs.App, drain: Drain) -> None:
    class Evil(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text for you")

    @app.task(max_attempts=1)
    async def evil() -> None:
        raise Evil

    @app.task(max_attempts=1)
    def nul() -> None:
        raise ValueError("a\0b \ud800 c")

    ids = [evil.enqueue(), nul.enqueue()]
    drain()
    assert "could not be read" in app.job(ids[0]).errors[0].message
    assert app.job(ids[1]).errors[0].message == "a\\x00b \\ud800 c"


def test_one_bad_apple_does_not_spoil_its_batch(app: pgjobs.App, drain: Drain, monkeypatch: pytest.MonkeyPatch) -> None:
    # A text that Python takes for JSON and PostgreSQL does not: a number beyond its range.
    def encode(result: object, *, task: str) -> str:
        return "1e200000" if result == "bad" else encode_result(result, task=task)

    monkeypatch.setattr("pgjobs.worker.executors.in_loop.encode_result", encode)

    @app.task(max_attempts=1)
    async def apple(kind: str) -> str:
        return kind

    ids = app.enqueue_many([apple.spec(kind) for kind in ["good"] * 5 + ["bad"] + ["good"] * 5])
    worker = drain()
    assert [str(app.job(id).status) for id in ids] == ["completed"] * 5 + ["dead"] + ["completed"] * 5
    assert worker.stats["done"] == 10
    assert "NumericValueOutOfRange" in app.job(ids[5]).errors[0].error


def test_a_large_result_is_kept_and_one_too_large_is_a_failed_attempt(app: pgjobs.App, drain: Drain) -> None:
    @app.task(max_attempts=1)
    async def produce(megabytes: int) -> str:
        return "x" * (megabytes << 20)

    large, too_large, after = produce.enqueue(20), produce.enqueue(60), produce.enqueue(1)
    drain(concurrency=3)
    assert len(app.job(large).result) == 20 << 20
    assert app.job(too_large).errors[0].message == (
        "The result of produce cannot be kept: it is 60 MiB of JSON, and a job carries 32 at most."
    )
    assert app.job(after).status == "completed"


# Slots and wake-ups


def test_a_worker_never_claims_beyond_its_free_slots(app: pgjobs.App, db: Connection) -> None:
    async def main() -> None:
        started = asyncio.Queue[int]()
        gates: dict[int, asyncio.Event] = {}

        @app.task
        async def hold(n: int) -> None:
            gates[n] = asyncio.Event()
            started.put_nowait(n)
            await gates[n].wait()

        app.enqueue_many([hold.spec(n) for n in range(5)])
        async with app.worker(["default"], concurrency=2, poll=60):
            first, second = await started.get(), await started.get()
            assert db.execute("select count(*) from pgjobs.jobs where status = 'running'").fetchone() == (2,)
            gates[first].set()
            third = await started.get()  # a slot that falls free is refilled, though nothing was announced
            assert db.execute("select count(*) from pgjobs.jobs where status = 'running'").fetchone() == (2,)
            for n in (second, third):
                gates[n].set()
            for _ in range(2):
                gates[await started.get()].set()

    run(main)
    assert db.execute("select count(*) from pgjobs.job_history").fetchone() == (5,)


@pytest.mark.parametrize("how", ["at once", "in a transaction", "after a savepoint", "late"])
def test_an_idle_worker_is_woken_by_a_commit_and_not_by_a_poll(
    app: pgjobs.App, connect: Callable[..., Connection], clock: Clock, how: str
) -> None:
    async def main() -> None:
        ran = asyncio.Event()

        @app.task
        async def ring() -> None:
            ran.set()

        async with app.worker(["default"], poll=3600, concurrency=2) as worker:
            await idle(worker)
            with connect(autocommit=how == "at once") as connection:
                if how == "after a savepoint":
                    with connection.transaction():
                        ring.options(tx=connection).enqueue()
                        raise psycopg.Rollback
                ring.options(tx=connection).enqueue()
                if how == "late":
                    clock.advance(timedelta(seconds=30))
            await ran.wait()

    run(main)


async def idle(worker: pgjobs.Worker) -> None:
    """Wait until the worker listens and has nothing left to do but wait: the next claim is a poll away."""
    came = asyncio.Event()
    wait = worker._wait

    async def told() -> None:
        pace = worker._claimer.pace
        if worker._claimer.listening and pace.idle and pace.claim_at > worker._last_step + 10:
            came.set()
        await wait()

    setattr(worker, "_wait", told)  # noqa: B010
    await came.wait()


def test_a_delayed_job_runs_when_it_is_due_and_not_a_poll_later(app: pgjobs.App) -> None:
    async def main() -> None:
        ran = asyncio.Event()

        @app.task
        async def ring() -> None:
            ran.set()

        async with app.worker(["default"], poll=3600, concurrency=2) as worker:
            await idle(worker)
            ring.options(delay=0.3).enqueue()
            await ran.wait()
            ran.clear()
            # Known before the worker came to wait: it asks when the next job falls due.
            ring.options(delay=2.5).enqueue()
            worker._claimer.pace.woken(0, 0)
            worker._changed.set()
            await ran.wait()

    run(main)


def test_queues_take_turns_and_a_full_one_does_not_starve_the_other(app: pgjobs.App, drain: Drain) -> None:
    order: list[str] = []

    @app.task(queue="full")
    async def full() -> None:
        order.append("full")

    @app.task(queue="small")
    async def small() -> None:
        order.append("small")

    app.enqueue_many([full.spec() for _ in range(50)] + [small.spec() for _ in range(5)])
    drain(concurrency=1)
    assert order.index("small") < 5
    assert len(order) == 55


# Stopping


def test_a_stop_lets_running_jobs_finish_and_claims_no_more(app: pgjobs.App) -> None:
    async def main() -> None:
        started, go = asyncio.Event(), asyncio.Event()

        @app.task
        async def slow() -> str:
            started.set()
            await go.wait()
            return "finished"

        first, second = slow.enqueue(), slow.enqueue()
        worker = app.make_worker(concurrency=1, grace=60)
        running = asyncio.create_task(worker.run())
        await started.wait()
        worker.stop()
        go.set()
        await running
        assert app.job(first).result == "finished"
        assert app.job(second).status == "ready"

    run(main)


@pytest.mark.parametrize("how", ["grace is over", "second signal"])
def test_what_does_not_finish_is_cut_short_and_given_back_uncounted(app: pgjobs.App, db: Connection, how: str) -> None:
    async def main() -> None:
        started: asyncio.Queue[str] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        @app.task
        async def for_ever() -> None:
            started.put_nowait("async")
            await asyncio.Event().wait()

        @app.task
        def thread(job: pgjobs.JobContext) -> None:
            loop.call_soon_threadsafe(started.put_nowait, "thread")
            while True:
                job.check()

        ids = [for_ever.enqueue(), thread.enqueue()]
        worker = app.make_worker(concurrency=2, grace=60 if how == "second signal" else 0)
        running = asyncio.create_task(worker.run())
        await started.get()
        await started.get()
        worker.stop()
        if how == "second signal":
            worker.stop()
        await running
        for id in ids:
            job = app.job(id)
            assert (job.status, job.attempts, job.crashes, job.run) == ("ready", 0, 0, 1)
        assert db.execute("select distinct rank from pgjobs.jobs").fetchall() == [
            (-3,)
        ]  # their turn, when they come again
        assert db.execute("select count(*) from pgjobs.workers").fetchone() == (0,)

    run(main)


def test_a_thread_that_does_not_listen_cannot_keep_a_worker_from_stopping(app: pgjobs.App) -> None:
    async def main() -> None:
        import threading

        loop = asyncio.get_running_loop()
        started, release = asyncio.Event(), threading.Event()

        @app.task
        def deaf() -> None:
            loop.call_soon_threadsafe(started.set)
            release.wait()

        id = deaf.enqueue()
        worker = app.make_worker(concurrency=1, grace=0)
        running = asyncio.create_task(worker.run())
        await started.wait()
        worker.stop()
        await running
        assert app.job(id).status == "ready"
        release.set()

    run(main)


# Troubles


def test_a_worker_outlives_its_connections_and_loses_nothing(app: pgjobs.App, db: Connection) -> None:
    async def main() -> None:
        runs: list[int] = []
        cut = 0

        @app.task
        async def work(n: int) -> None:
            nonlocal cut
            runs.append(n)
            if n in (100, 700):
                cut += break_connections(db, "pgjobs worker")
                break_connections(db, "pgjobs listener")
                break_connections(db, "pgjobs keeper")

        app.enqueue_many([work.spec(n) for n in range(1000)])
        worker = app.make_worker(concurrency=50, drain=True)
        await worker.run()
        assert cut == 2
        assert set(runs) == set(range(1000))

    run(main)
    assert db.execute("select count(*), max(attempts), max(crashes) from pgjobs.job_history").fetchone() == (1000, 0, 0)


@pytest.mark.parametrize("busy", [False, True])
def test_a_stop_while_the_server_is_down_does_not_wait_for_it(
    app: pgjobs.App, db: Connection, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    async def main() -> None:
        started, down = asyncio.Event(), asyncio.Event()

        @app.task
        async def hold() -> None:
            started.set()
            await asyncio.Event().wait()

        if busy:
            hold.enqueue()
        worker = app.make_worker(["default"], concurrency=2, grace=0.2, poll=0.05)
        running = asyncio.create_task(worker.run())
        await (started.wait() if busy else worker.ready_or_done(running))

        async def unreachable() -> NoReturn:
            down.set()
            raise psycopg.OperationalError("connection refused")

        monkeypatch.setattr(worker._session, "connect", unreachable)
        break_connections(db, "pgjobs worker")
        await down.wait()
        worker.stop()
        if busy:
            with pytest.raises(psycopg.OperationalError):  # what it ran could not be given back
                await running
        else:
            await running

    run(main)
    db.execute("select pgjobs.resign_v1(id) from pgjobs.workers")


def test_results_are_kept_whatever_encoding_the_environment_asks_for(
    app: pgjobs.App, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")

    @app.task
    async def snow(kind: str) -> str:
        return kind + "☃"

    id = snow.enqueue("☃")
    drain()
    assert app.job(id).result == "☃☃"


def test_a_job_that_is_snoozed_for_ages_can_still_be_looked_at(app: pgjobs.App, drain: Drain) -> None:
    @app.task
    async def nap() -> None:
        raise Snooze(timedelta(days=36_525))

    id = nap.enqueue()
    drain()
    at = app.job(id).available_at
    assert at is not None
    assert 99 <= at.year - app.job(id).enqueued_at.year < 101


@pytest.mark.parametrize("noise", ['"since": "2026-01-01T00:00:00"', '"since": 5', '"in": null', '"since": "soon"'])
def test_a_notification_that_is_not_ours_harms_nobody(app: pgjobs.App, db: Connection, noise: str) -> None:
    async def main() -> None:
        ran = asyncio.Event()

        @app.task
        async def ring() -> None:
            ran.set()

        async with app.worker(["default"], poll=3600, concurrency=2) as worker:
            await idle(worker)
            db.execute("select pg_notify('pgjobs', %s)", (f'{{"queue": "default", {noise}}}',))
            ring.enqueue()  # heard after the noise, on the same connection
            await ran.wait()
            assert worker._claimer.listening

    run(main)


def test_a_connection_that_breaks_while_a_worker_registers_anew_is_waited_out(
    app: pgjobs.App, clock: Clock, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        ran = asyncio.Event()
        register, broken = AsyncClient.register, list[str]()

        @app.task
        async def ring() -> None:
            ran.set()

        async def breaking(self: Any, *args: Any) -> int:
            if broken == ["armed"]:
                broken.append("once")
                raise psycopg.OperationalError("server closed the connection unexpectedly")
            return await register(self, *args)

        monkeypatch.setattr(AsyncClient, "register", breaking)
        async with app.worker(["default"], lease=30, poll=0.05):
            until(db, RENEWED)
            broken.append("armed")
            clock.advance(timedelta(seconds=31))
            db.execute("select pgjobs.rescue_v1(100)")
            ring.enqueue()
            await ran.wait()
        assert broken == ["armed", "once"]

    run(main)


def test_a_claim_whose_reply_is_lost_is_given_back(
    app: pgjobs.App, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    """The claim commits, the connection dies before the rows arrive: nobody knows the jobs, the database does."""

    @app.task
    async def work() -> None: ...

    id = work.enqueue()
    with losing_replies("claim", when=lambda step, *asked: step.claimed) as lost:
        drain()
    assert lost.count == 1
    job = app.job(id)
    assert (job.status, job.run, job.attempts, job.crashes) == ("completed", 2, 0, 0)
    assert "giving back 1 jobs" in caplog.text


def test_a_settle_whose_reply_is_lost_is_not_written_twice(app: pgjobs.App, drain: Drain, db: Connection) -> None:
    settled: list[list[int]] = []
    runs = []

    @app.task
    async def work(n: int) -> None:
        runs.append(n)

    def settles(step: Any, worker: int, settlement: Any, *claim: Any) -> bool:
        settled.append(list(settlement.ids))
        return bool(settlement.ids)

    app.enqueue_many([work.spec(n) for n in range(20)])
    with losing_replies("settle_and_claim", when=settles) as lost:
        worker = drain(concurrency=5)
    assert lost.count == 1
    assert sorted(runs) == list(range(20))  # those settled are not run again; those claimed unheard come again
    assert worker.stats["fenced"] == len(next(filter(None, settled)))
    assert db.execute("select count(*), max(crashes) from pgjobs.job_history").fetchone() == (20, 0)


def test_a_worker_whose_lease_lapsed_stops_its_jobs_and_begins_again(
    app: pgjobs.App, db: Connection, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        started: asyncio.Queue[int] = asyncio.Queue()
        cancelled = asyncio.Event()

        @app.task
        async def work(job: pgjobs.JobContext) -> int:
            started.put_nowait(job.run)
            if job.run == 1:
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.set()
            return job.run

        id = work.enqueue()
        async with app.worker(concurrency=2, lease=30) as worker:
            assert await started.get() == 1
            first = worker.id
            until(db, RENEWED)
            clock.advance(timedelta(seconds=31))
            db.execute("select pgjobs.rescue_v1(100)")  # or the worker's own keeper has just done it
            worker._keeper.news()  # the next renewal is refused
            await cancelled.wait()
            assert await started.get() == 2
            assert worker.id != first
        job = app.job(id)
        assert (job.result, job.crashes, job.attempts) == (2, 1, 0)

    run(main)
    assert "its lease has lapsed" in caplog.text


def test_a_worker_does_not_start_without_a_schema(postgresql: Connection) -> None:
    info = postgresql.info
    dsn = psycopg.conninfo.make_conninfo(host=info.host, port=info.port, user=info.user, password=info.password)
    app = pgjobs.App(f"{dsn} dbname=template1")

    @app.task
    async def work() -> None: ...

    with pytest.raises(pgjobs.SchemaError, match="run `pgjobs migrate`"):
        asyncio.run(app.make_worker().run())


@pytest.mark.usefixtures("own_database")
@pytest.mark.parametrize(("version", "serves", "error"), [(0, 0, pgjobs.SchemaTooOld), (9, 5, pgjobs.SchemaTooNew)])
def test_a_worker_does_not_start_with_a_schema_that_does_not_fit(
    app: pgjobs.App, db: Connection, version: int, serves: int, error: type[Exception]
) -> None:
    db.execute(
        "create or replace function pgjobs.schema_version(out version integer, out serves_from integer)"
        f" language sql immutable as 'select {version}, {serves}'"
    )

    @app.task
    async def work() -> None: ...

    with pytest.raises(error):
        asyncio.run(app.make_worker().run())


def test_a_worker_without_a_server_says_so_in_one_sentence() -> None:
    app = pgjobs.App("postgresql://nobody@127.0.0.1:1/nothing")

    @app.task
    async def work() -> None: ...

    with pytest.raises(pgjobs.ConnectionFailed, match="The database cannot be reached"):
        asyncio.run(app.make_worker().run())


def test_workers_side_by_side_run_each_job_once(app: pgjobs.App, db: Connection) -> None:
    runs: list[int] = []

    @app.task
    async def work(n: int) -> None:
        runs.append(n)

    async def main() -> None:
        app.enqueue_many([work.spec(n) for n in range(3000)])
        workers = [app.make_worker(drain=True, concurrency=20) for _ in range(3)]
        await asyncio.gather(*(worker.run() for worker in workers))

    run(main)
    assert sorted(runs) == list(range(3000))
