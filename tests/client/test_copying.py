"""Many jobs by COPY: on every kind of connection the same jobs as by the function, and part of the transaction."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import pgjobs
from pgjobs import Spec
from pgjobs.connections import PsycopgRunner, run
from pgjobs.testing import Clock
from tests.client.conftest import AsyncFace, Face
from tests.client.kinds import KINDS, Asyncpg, DjangoFoundByItself, Kind, PsycopgPipeline, SaRunSync, in_loop
from tests.client.test_connection_conformance import kind as kind
from tests.sql.by_hand import Ear, StoppedClock

Connection = psycopg.Connection[Any]
Task = pgjobs.Task[..., Any]
Count = Callable[[], int]

# The driver has no COPY there: psycopg's in a pipeline; an async one that `run_sync` makes look as if it blocked.
CANNOT = {"PsycopgPipeline", "AsyncPsycopgPipeline", "SaRunSync_psycopg", "SaRunSync_asyncpg"}
CAN = [kind for kind in KINDS if kind.__name__ not in CANNOT]


@pytest.fixture
def face(request: pytest.FixtureRequest, dsn: str, app: pgjobs.App) -> Iterator[Face]:
    """The face of the kind, where there is one, else both."""
    if "kind" in request.fixturenames:
        kind: Kind = request.getfixturevalue("kind")
        yield kind.face
    else:
        face: Face = request.param(dsn)
        yield face
        face.close_app(app)
        face.close()


both = pytest.mark.parametrize("face", [Face, AsyncFace], indirect=True, ids=lambda kind: kind.name)


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten jobs are copied, in blocks of seven; the function would take five at a time."""
    monkeypatch.setattr(pgjobs.portions, "COPY_FROM", 10)
    monkeypatch.setattr(pgjobs.portions, "CHUNK", 5)
    monkeypatch.setattr(pgjobs.calls.copying, "BLOCK", 7)


@pytest.fixture
def no_function(db: Connection) -> Iterator[None]:
    """Without the function that enqueues many, COPY is the only way."""
    db.execute("alter function pgjobs.enqueue_many_v1 rename to enqueue_many_away")
    yield
    db.execute("alter function pgjobs.enqueue_many_away rename to enqueue_many_v1")


def various(task: Task) -> list[Spec]:
    """Jobs with every setting, and texts that need care."""
    soon = datetime.now(UTC) + timedelta(minutes=5)
    other = task.options(queue='"q"\\N é\\', priority=-2, max_attempts=9, timeout=timedelta(days=1, seconds=1.25))
    return [
        *(task.spec(letter_id=number, language=language) for number, language in enumerate(TEXTS)),
        *(other.spec(letter_id=number, language="\\") for number in range(10)),
        task.options(available_at=soon, metadata={"a": [None, "\\", "\n\t"], "é": '"'}).spec(letter_id=100),
        *(task.options(delay=timedelta(seconds=number)).spec(letter_id=200 + number) for number in range(-1, 5)),
        Spec("by hand", ' \n{"a" :\t1\r}', version=3),
    ]


TEXTS = [
    "en",
    "\\",
    "\\N",
    "\\.",
    "a\nb\tc\rd",
    '"quoted"',
    "'",
    "é😀\u2028",
    "{}",
    ",",
    "\\u0000 is no NUL",
    "%s",
    "$1",
    "",
]


def rows(db: Connection) -> list[tuple[Any, ...]]:
    found = db.execute(
        "select queue, task, payload, priority, rank, max_attempts, timeout, metadata, version, wake, status, run, attempts,"
        " crashes, line, worker, available_at > enqueued_at from pgjobs.jobs order by id"
    )
    return found.fetchall()


@pytest.mark.parametrize("kind", CAN, indirect=True, ids=lambda kind: kind.__name__)
def test_what_is_copied_is_what_the_function_would_have_made(
    kind: Kind,
    app: pgjobs.App,
    task: Task,
    db: Connection,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    specs = various(task)
    kind.begin()
    with monkeypatch.context() as patch:
        patch.setattr(pgjobs.portions, "COPY_FROM", 1_000)
        kind.enqueue_many(app, specs)
    kind.commit()
    by_function = rows(db)
    db.execute("delete from pgjobs.jobs")
    request.getfixturevalue("no_function")
    kind.begin()
    ids = kind.enqueue_many(app, specs)
    kind.commit()
    assert rows(db) == by_function
    letters = dict(db.execute("select id, payload ->> 'language' from pgjobs.jobs").fetchall())
    assert [letters[id] for id in ids[: len(TEXTS)]] == TEXTS
    assert ids == sorted(ids)
    assert all(isinstance(id, pgjobs.JobId) and id.created for id in ids)


@pytest.mark.parametrize("kind", KINDS, indirect=True, ids=lambda kind: kind.__name__)
def test_many_are_a_part_of_the_transaction(kind: Kind, app: pgjobs.App, task: Task, count: Count) -> None:
    specs = [task.spec(letter_id=number) for number in range(12)]
    kind.begin()
    kind.enqueue_many(app, specs)
    assert count() == 0
    kind.rollback()
    assert count() == 0
    kind.begin()
    kind.enqueue(task, letter_id=1)
    kind.enqueue_many(app, specs)
    kind.enqueue(task, letter_id=2)
    kind.commit()
    assert count() == 14


@pytest.mark.parametrize(
    "kind",
    [kind for kind in KINDS if kind.autocommits and kind is not DjangoFoundByItself],
    indirect=True,
    ids=lambda kind: kind.__name__,
)
def test_outside_of_a_transaction_all_are_there_or_none(kind: Kind, app: pgjobs.App, task: Task, count: Count) -> None:
    good = task.spec(letter_id=1)
    with pytest.raises(Exception, match="invalid input syntax for type json"):
        kind.enqueue_many(app, [*[good] * 12, Spec("t", "{nonsense"), good])
    assert count() == 0
    kind.enqueue_many(app, [good] * 12)
    assert count() == 12


@pytest.mark.parametrize("kind", CAN, indirect=True, ids=lambda kind: kind.__name__)
def test_a_savepoint_takes_what_was_copied_inside_along(
    kind: Kind, app: pgjobs.App, task: Task, db: Connection, no_function: None
) -> None:
    def fail() -> None:
        with kind.savepoint():
            kind.enqueue_many(app, [task.spec(letter_id=2)] * 12)
            raise ZeroDivisionError

    kind.begin()
    kind.enqueue_many(app, [task.options(queue="kept").spec(letter_id=1)] * 12)
    with pytest.raises(ZeroDivisionError):
        fail()
    kind.enqueue_many(app, [task.spec(letter_id=3)] * 12)
    kind.commit()
    found = db.execute(
        "select payload ->> 'letter_id', count(*), count(*) filter (where wake) from pgjobs.jobs group by 1 order by 1"
    ).fetchall()
    assert found == [("1", 12, 1), ("3", 12, 1)]


def test_kinds_that_cannot_copy_are_those_that_are_known() -> None:
    known = {PsycopgPipeline.__name__, in_loop(PsycopgPipeline).__name__}
    assert known | {f"{SaRunSync.__name__}_{driver}" for driver in ("psycopg", "asyncpg")} == CANNOT
    assert {kind.__name__ for kind in KINDS} > CANNOT


REFUSED = [
    (Spec("t" * 201), "The name of a task must have 1 to 200 characters"),
    (Spec("a\nb"), "The name of a task must have 1 to 200 characters"),
    (Spec("t", queue=""), "The name of a queue must have 1 to 200 characters"),
    (Spec("t", "[1]"), "The payload of a job must be a JSON object"),
    (Spec("t", metadata="1"), "The metadata of a job must be a JSON object"),
    (Spec("t", priority=3), "The priority of a job must be one of -2, -1, 0, 1, 2, not 3"),
    (Spec("t", max_attempts=0), "max_attempts must be from 1 to 32767, not 0"),
    (Spec("t", version=40_000), "The version of a payload must be from 1 to 32767, not 40000"),
    (Spec("t", timeout=timedelta(0)), "A timeout must be longer than nothing"),
    (Spec("t", delay=timedelta(days=40_000)), "A delay may be a century at most"),
    (Spec("t", delay=timedelta(1), available_at=datetime(2030, 1, 1, tzinfo=UTC)), "a delay or an available_at, not both"),
    (Spec("t", available_at=datetime(9999, 12, 31, 23, tzinfo=UTC)), "available_at must be before the end of the year"),
]  # fmt: skip


@both
@pytest.mark.parametrize(("spec", "sentence"), REFUSED, ids=lambda given: "" if isinstance(given, Spec) else given)
def test_one_that_makes_no_sense_refuses_them_all_in_a_sentence(
    face: Face, app: pgjobs.App, count: Count, spec: Spec, sentence: str
) -> None:
    good = [Spec("t"), Spec("t", delay=timedelta(1)), Spec("t", available_at=datetime(2030, 1, 1, tzinfo=UTC))]
    for tx in None, face.connect(autocommit=True):
        with pytest.raises(pgjobs.InvalidJob, match=sentence):
            face.enqueue_many(app, [*good * 4, spec, *good], tx=tx)
        assert len(face.enqueue_many(app, good * 4, tx=tx)) == 12
    assert count() == 24


@both
def test_a_nul_and_half_a_surrogate_pair_are_refused_as_for_one(face: Face, app: pgjobs.App, count: Count) -> None:
    for payload in '{"a": "\\u0000"}', '{"a": "\ud800"}':
        errors = set()
        for specs in [Spec("t", payload)], [Spec("t", payload)] * 12:
            with pytest.raises(Exception, match=r"Unicode|surrogates") as refusal:
                face.enqueue_many(app, specs)
            errors.add(type(refusal.value))
        assert len(errors) == 1
    assert count() == 0


@both
def test_a_moment_without_a_time_zone_is_the_sessions_as_for_one(face: Face, app: pgjobs.App, db: Connection) -> None:
    tx = face.connect(autocommit=True, options="-c timezone=Asia/Tokyo")
    face.enqueue_many(app, [Spec("t", available_at=datetime(2031, 1, 1, 12))] * 12, tx=tx)
    assert db.execute("select distinct available_at from pgjobs.jobs").fetchall() == [
        (datetime(2031, 1, 1, 3, tzinfo=UTC),)
    ]


@both
def test_keys_are_not_in_the_past_and_delays_count_from_now_in_an_old_transaction(
    face: Face, app: pgjobs.App, db: Connection, clock: Clock
) -> None:
    tx = face.connect()
    began = face.do(face.do(tx.execute("select pgjobs.now()")).fetchone())[0]
    clock.advance(timedelta(hours=1))
    past = datetime(2001, 1, 1, tzinfo=UTC)
    face.enqueue_many(app, [Spec("past", available_at=past)] * 10 + [Spec("later", delay=timedelta(minutes=5))], tx=tx)
    face.do(tx.commit())
    found = db.execute(
        "select task, available_at - enqueued_at, min(enqueued_at) from pgjobs.jobs group by 1, 2 order by 1 desc"
    ).fetchall()
    assert [row[:2] for row in found] == [("past", timedelta(0)), ("later", timedelta(minutes=5))]
    assert all(timedelta(minutes=60) <= row[2] - began < timedelta(minutes=61) for row in found)


@both
def test_the_first_that_is_due_before_all_others_of_its_queue_announces_it(
    face: Face, app: pgjobs.App, db: Connection, own_database: None
) -> None:
    StoppedClock(db)
    at = db.execute("select pgjobs.now()").fetchone()
    assert at is not None
    tx = face.connect()
    many = [
        Spec("a later", queue="a", delay=timedelta(seconds=60)),
        Spec("a first", queue="a"),
        Spec("a as early", queue="a", available_at=at[0] - timedelta(days=1)),
        Spec("b later", queue="b", delay=timedelta(seconds=60)),
        Spec("b first", queue="b", available_at=at[0] + timedelta(seconds=30)),
        Spec("b second", queue="b", delay=timedelta(seconds=31)),
        *[Spec("c", queue="c")] * 6,
    ]
    face.enqueue_spec(app, Spec("c before", queue="c"), tx)
    face.enqueue_many(app, many, tx=tx)
    face.enqueue_many(app, [*many, *[Spec("d", queue="d")] * 2], tx=tx)
    face.do(tx.commit())
    awake = db.execute("select task from pgjobs.jobs where wake order by id").fetchall()
    assert [task for (task,) in awake] == ["c before", "a first", "b first", "d"]
    # And in silence.
    face.enqueue_many(app, [*many, Spec("silent", notify=False)], tx=tx)
    face.do(tx.commit())
    assert db.execute("select count(*) from pgjobs.jobs where wake").fetchone() == (4,)


@both
def test_a_commit_that_comes_late_is_announced_since_the_key(
    face: Face, app: pgjobs.App, db: Connection, own_database: None, connect: Callable[..., Connection]
) -> None:
    clock, ear, tx = StoppedClock(db), Ear(connect()), face.connect()
    face.enqueue_many(app, [Spec("t")] * 12, tx=tx)
    clock.advance(timedelta(seconds=0.151))
    face.do(tx.commit())
    found = db.execute("select distinct available_at from pgjobs.jobs").fetchall()
    assert ear.heard() == [{"queue": "default", "since": found[0][0]}]


@both
@pytest.mark.parametrize("why", ["no insert", "no sequence", "row security"])
def test_who_may_not_copy_enqueues_by_the_function(
    face: Face, app: pgjobs.App, db: Connection, own_database: None, why: str
) -> None:
    role = f"{db.info.dbname}_clerk"
    db.execute(f"create role {role} login password 'clerk'")
    try:
        db.execute(f"grant usage on schema pgjobs to {role}")
        if why == "row security":
            db.execute(f"grant insert, select on pgjobs.jobs to {role}")
            db.execute(f"grant usage on sequence pgjobs.jobs_id_seq to {role}")
            db.execute("alter table pgjobs.jobs enable row level security")
            db.execute("create policy his on pgjobs.jobs using (queue = 'his') with check (queue = 'his')")
        elif why == "no sequence":
            db.execute(f"grant insert, select on pgjobs.jobs to {role}")
        else:
            db.execute("alter function pgjobs.enqueue_many_v1 security definer")
        tx = face.connect(user=role, password="clerk")
        ids = face.enqueue_many(app, [Spec("t", queue="his")] * 12, tx=tx)
        face.do(tx.commit())
        assert db.execute("select array_agg(id order by id) from pgjobs.jobs").fetchone() == (ids,)
    finally:
        db.execute(f"drop owned by {role}")
        db.execute(f"drop role {role}")


def test_ids_are_nobody_elses_while_others_enqueue(app: pgjobs.App, task: Task, db: Connection) -> None:
    chance = random.Random(0)
    done: list[tuple[pgjobs.JobId, int]] = []
    start = threading.Barrier(3)

    def enqueue(number: int) -> None:
        start.wait()
        for _ in range(10):
            count = chance.randrange(500, 1_500)
            ids = app.enqueue_many([task.spec(letter_id=number)] * count)
            done.extend((id, number) for id in ids)

    threads = [threading.Thread(target=enqueue, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id for id, _ in done}) == len(done)
    found = db.execute("select id, (payload ->> 'letter_id')::integer from pgjobs.jobs").fetchall()
    assert sorted(found) == sorted((int(id), number) for id, number in done)


@both
def test_a_generator_that_raises_half_way_leaves_nothing(face: Face, app: pgjobs.App, task: Task, count: Count) -> None:
    def specs() -> Iterator[Spec]:
        for number in range(50):
            yield task.spec(letter_id=number)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        face.enqueue_many(app, specs())
    assert count() == 0


def test_a_codec_of_the_callers_has_no_say(
    dsn: str, app: pgjobs.App, task: Task, no_function: None, count: Count
) -> None:
    face = AsyncFace(dsn)
    kind = Asyncpg(face, dsn)
    with kind.stack:
        kind.open()
        kind.enqueue_many(app, [task.spec(letter_id=1)] * 12)
    face.close()
    assert count() == 12


def test_a_block_is_bounded_by_what_its_payloads_are_long(db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgjobs.calls.copying, "BLOCK_LENGTH", 1_000)
    monkeypatch.setattr(pgjobs.calls.copying, "BLOCK", 500)
    specs = [Spec("t", '{"text":"%s"}' % ("x" * size)) for size in (10, 10, 5_000, 700, 700, 700, 10)]
    reserved = run(PsycopgRunner(db), pgjobs.calls.reserve(specs))
    assert reserved is not None
    assert [block.count(b"\n") for block in reserved.copy().blocks] == [3, 2, 2]
