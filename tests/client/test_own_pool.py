"""Connections of our own: few, made when needed, and no trouble when they break."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

import pgjobs
from pgjobs import pools
from tests.client.between import Between
from tests.client.conftest import Backends, Face
from tests.sql.by_hand import until

Connection = psycopg.Connection[Any]
Task = pgjobs.Task[..., Any]
Count = Callable[[], int]


def end(db: Connection, pids: list[int]) -> None:
    """End these backends, and wait until they are gone."""
    for pid in pids:
        assert db.execute("select pg_terminate_backend(%s, 10000)", (pid,)).fetchone() == (True,)


def test_no_connection_is_made_before_it_is_needed(face: Face, app: pgjobs.App, task: Task, backends: Backends) -> None:
    task.spec(letter_id=7)
    task.options(delay=5)
    face.enqueue(task.options(tx=face.connect(autocommit=True)), letter_id=7)
    face.close_app(app)
    assert backends("= 0") == []
    face.enqueue(task, letter_id=7)
    assert len(backends("= 1")) == 1


def test_one_connection_serves_one_call_after_another(
    face: Face, app: pgjobs.App, task: Task, backends: Backends
) -> None:
    id = face.enqueue(task, letter_id=7)
    first = backends("= 1")
    for _ in range(20):
        face.enqueue(task, letter_id=7)
        face.enqueue_many(app, [task.spec(letter_id=7)])
        face.job(app, id)
    assert backends("= 1") == first


def test_an_error_of_a_job_costs_no_connection(face: Face, app: pgjobs.App, task: Task, backends: Backends) -> None:
    face.enqueue(task, letter_id=7)
    first = backends("= 1")
    with pytest.raises(pgjobs.InvalidJob):
        face.enqueue_spec(app, pgjobs.Spec(""))
    with pytest.raises(pgjobs.JobNotFound):
        face.job(app, 2**40)
    assert backends("= 1") == first


def test_twenty_threads_share_four_connections(app: pgjobs.App, task: Task, count: Count, backends: Backends) -> None:
    full = threading.Barrier(pools.MAX_SIZE)
    seen: list[int] = []

    def work(number: int) -> None:
        with app.client() as client:
            full.wait()  # four at a time, neither fewer nor more
            with one_at_a_time:
                seen.append(len(backends(f"= {pools.MAX_SIZE}")))
            client.enqueue(task.spec(letter_id=number))

    one_at_a_time = threading.Lock()
    with ThreadPoolExecutor(20) as threads:
        list(threads.map(work, range(20)))
    assert seen == [pools.MAX_SIZE] * 20
    assert count() == 20


def test_two_hundred_asyncio_tasks_share_four_connections(
    app: pgjobs.App, task: Task, count: Count, backends: Backends
) -> None:
    async def main() -> None:
        await asyncio.gather(*(task.aenqueue(letter_id=number) for number in range(200)))
        assert len(backends(f"<= {pools.MAX_SIZE}")) > 1
        await app.aclose()

    asyncio.run(main())
    assert count() == 200


def test_who_finds_all_in_use_is_told_so_in_time(
    face: Face, app: pgjobs.App, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = pytest.raises(pgjobs.ConnectionFailed, match=r"^No connection came free within 10 s: all 4 are in use\.$")
    with face.client(app), face.client(app), face.client(app), face.client(app), monkeypatch.context() as patch:
        patch.setattr(pools, "TIMEOUT", 0.05)
        with told:
            face.enqueue(task, letter_id=7)
    face.enqueue(task, letter_id=7)


def test_connections_that_the_server_ended_while_idle_are_replaced_unnoticed(
    face: Face, app: pgjobs.App, task: Task, db: Connection, count: Count, backends: Backends
) -> None:
    with face.client(app), face.client(app), face.client(app), face.client(app):
        pass
    end(db, backends("= 4"))
    face.enqueue(task, letter_id=7)
    assert backends("between 1 and 4")
    assert count() == 1


def test_a_server_that_goes_and_comes_back_is_used_again_at_once(face: Face, dsn: str, count: Count) -> None:
    between = Between(dsn)
    app = pgjobs.App(between.dsn)

    @app.task
    def read_letter(letter_id: int) -> None: ...

    for outage in (1, 2):
        with face.client(app), face.client(app), face.client(app), face.client(app):
            pass  # all connections there may be
        between.down()
        for _ in range(3):
            with pytest.raises(pgjobs.ConnectionFailed, match=r"^The database cannot be reached: .*refused"):
                face.enqueue(read_letter, letter_id=outage)
        between.up()
        face.enqueue(read_letter, letter_id=outage)
        assert count() == outage
    face.close_app(app)
    between.down()


def test_a_connection_that_breaks_in_use_is_told_and_the_next_call_has_another(
    face: Face, app: pgjobs.App, task: Task, db: Connection, backends: Backends
) -> None:
    def enqueue_while_it_breaks() -> None:
        with face.client(app) as client:
            end(db, backends("= 1"))
            face.do(client.enqueue(task.spec(letter_id=7)))

    with pytest.raises(pgjobs.ConnectionFailed) as broken:
        enqueue_while_it_breaks()
    assert str(broken.value).startswith("The connection broke before the database had answered: ")
    assert str(broken.value).endswith("What was asked for may have been done or not.")
    assert "\n" not in str(broken.value)
    face.enqueue(task, letter_id=7)


def test_an_enqueue_whose_answer_is_lost_is_not_repeated(
    face: Face, own_database: None, task: Task, db: Connection, count: Count
) -> None:
    # Sequences do not roll back: this one counts the tries. The first ends its own session in the middle.
    db.execute("create sequence tries")
    db.execute("""
        create function die() returns trigger language plpgsql as $$
        begin
            if nextval('tries') = 1 then
                perform pg_terminate_backend(pg_backend_pid());
            end if;
            return new;
        end $$;
        create trigger die before insert on pgjobs.jobs for each row execute function die()
    """)
    with pytest.raises(pgjobs.ConnectionFailed, match="may have been done or not"):
        face.enqueue(task, letter_id=7)
    assert db.execute("select last_value from tries").fetchone() == (1,)
    assert count() == 0
    face.enqueue(task, letter_id=7)
    assert count() == 1


def test_a_cancelled_task_gives_its_place_back(app: pgjobs.App, task: Task, db: Connection, count: Count) -> None:
    async def main() -> None:
        for _ in range(2 * pools.MAX_SIZE):
            waiting = asyncio.create_task(task.aenqueue(letter_id=1))
            await asyncio.to_thread(until, db, "exists (select from pg_locks where not granted)")
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        db.rollback()
        await task.aenqueue(letter_id=2)
        await app.aclose()

    db.autocommit = False
    db.execute("lock table pgjobs.jobs")
    asyncio.run(main())
    db.rollback()
    db.autocommit = True
    assert count() == 1


def test_closing_closes_and_the_next_call_opens_again(
    face: Face, app: pgjobs.App, task: Task, count: Count, backends: Backends
) -> None:
    face.close_app(app)  # nothing was opened yet
    for number in range(2):
        with face.client(app):
            assert len(backends("= 1")) == 1
        face.close_app(app)
        face.close_app(app)
        assert backends("= 0") == []
        face.enqueue(task, letter_id=number)
        face.close_app(app)
    assert count() == 2


def test_a_connection_that_is_lent_while_the_app_closes_is_closed_when_it_comes_back(
    face: Face, app: pgjobs.App, task: Task, count: Count, backends: Backends
) -> None:
    with face.client(app) as client:
        lent = backends("= 1")
        face.close_app(app)
        face.do(client.enqueue(task.spec(letter_id=7)))
        assert backends("= 1") == lent
    assert backends("= 0") == []
    assert count() == 1


def test_every_event_loop_has_its_own(app: pgjobs.App, task: Task, count: Count, backends: Backends) -> None:
    async def main(number: int) -> None:
        await asyncio.gather(*(task.aenqueue(letter_id=number) for _ in range(10)))
        assert backends("> 0")
        await app.aclose()

    for number in range(3):
        asyncio.run(main(number))
        assert backends("= 0") == []
    assert count() == 30
    gc.collect()


def test_an_app_that_nobody_closes_leaves_no_connection_and_no_warning(dsn: str, backends: Backends) -> None:
    def use() -> None:
        with pgjobs.App(dsn).client() as client:
            client.now()
            assert backends("= 1")

    use()
    gc.collect()
    assert backends("= 0") == []


@pytest.mark.skipif(sys.platform != "linux", reason="fork is not what processes begin with here")
def test_a_forked_child_leaves_the_connections_of_its_parent_alone(
    app: pgjobs.App, task: Task, count: Count, backends: Backends
) -> None:
    task.enqueue(letter_id=1)
    parents = backends("= 1")

    def work() -> None:
        task.enqueue(letter_id=2)
        app.close()

    child = multiprocessing.get_context("fork").Process(target=work)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that we have threads
        child.start()
    child.join(30)
    assert child.exitcode == 0
    task.enqueue(letter_id=3)
    assert count() == 3
    assert backends("= 1") == parents


@pytest.mark.skipif(sys.platform != "linux", reason="fork is not what processes begin with here")
def test_workers_that_are_forked_from_an_app_in_use_have_connections_of_their_own(
    app: pgjobs.App, task: Task, count: Count, backends: Backends
) -> None:
    """As gunicorn does with preload_app, and multiprocessing: blocking calls and event loops, before and after."""

    async def enqueue_in_loop() -> None:
        await asyncio.gather(*(task.aenqueue(letter_id=1) for _ in range(10)))
        await app.aclose()

    async def fork_and_enqueue() -> None:
        await task.aenqueue(letter_id=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that we have threads
            for child in children:
                child.start()
        await task.aenqueue(letter_id=1)
        for child in children:
            await asyncio.to_thread(child.join, 30)
        await app.aclose()

    def work() -> None:
        task.enqueue(letter_id=2)
        with ThreadPoolExecutor(1) as threads:  # the loop that was running in the parent is not this thread's
            threads.submit(asyncio.run, enqueue_in_loop()).result()
        app.close()

    task.enqueue(letter_id=1)
    children = [multiprocessing.get_context("fork").Process(target=work) for _ in range(2)]
    asyncio.run(fork_and_enqueue())
    assert [child.exitcode for child in children] == [0, 0]
    assert count() == 3 + 2 * 11
    gc.collect()


def test_event_loops_in_several_threads_do_not_mind_each_other(
    app: pgjobs.App, task: Task, count: Count, backends: Backends
) -> None:
    together = threading.Barrier(3)

    async def main() -> None:
        await asyncio.gather(*(task.aenqueue(letter_id=1) for _ in range(20)))
        await asyncio.to_thread(together.wait)
        with one_at_a_time:
            assert backends(f"between 1 and {3 * pools.MAX_SIZE}")
        await asyncio.to_thread(together.wait)
        await app.aclose()

    one_at_a_time = threading.Lock()
    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(asyncio.run, main()) for _ in range(3)]:
            done.result()
    assert count() == 60


def test_two_threads_that_come_first_at_once_make_one_pool(dsn: str, backends: Backends) -> None:
    for _ in range(5):
        app = pgjobs.App(dsn)

        @app.task
        def read_letter() -> None: ...

        together = threading.Barrier(4)

        def work(task: Any = read_letter, together: threading.Barrier = together) -> None:
            together.wait()
            for _ in range(5):
                task.enqueue()

        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(work) for _ in range(4)]:
                done.result()
        app.close()


def test_the_dsn_may_say_more_and_goes_before_our_defaults(dsn: str, db: Connection) -> None:
    app = pgjobs.App(f"{dsn} application_name='letters of mine' keepalives_idle=99")
    with app.client() as client:
        rows = client._runner.rows("select current_setting('application_name')", ())
        info = client._runner.connection.info.get_parameters()  # type: ignore[attr-defined]
    assert rows == [("letters of mine",)]
    assert info["keepalives_idle"] == "99"
    assert info["keepalives_interval"] == "5"
    app.close()


def test_odd_defaults_of_the_role_do_not_matter(face: Face, own_database: None, task: Task, db: Connection) -> None:
    name = db.info.dbname
    for setting in (
        "default_transaction_isolation = 'serializable'",
        "DateStyle = 'German'",
        "TimeZone = 'Asia/Tokyo'",
    ):
        db.execute(f"alter database {name} set {setting}")
    app = task._enqueuer
    assert isinstance(app, pgjobs.App)
    id = face.enqueue(task, letter_id=7)
    assert face.job(app, id).enqueued_at.utcoffset() is not None
    assert len(face.enqueue_many(app, [task.spec(letter_id=7)] * 5_001)) == 5_001
