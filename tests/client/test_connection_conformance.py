"""One suite over every kind of connection: a job is a part of the transaction it was enqueued in, whatever carries it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import pgjobs
import pgjobs.app
from tests.client.conftest import Face
from tests.client.kinds import KINDS, DjangoFoundByItself, Kind, PsycopgServerCursor

Task = pgjobs.Task[..., Any]
Count = Callable[[], int]

CHUNK = 100  # jobs a statement, for enqueue_many


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest, dsn: str, app: pgjobs.App) -> Iterator[Kind]:
    """A connection of some kind, open, outside of a transaction."""
    face: Face = request.param.face_kind(dsn)
    kind: Kind = request.param(face, dsn)
    with kind.stack:
        kind.open()
        yield kind
    face.close_app(app)
    face.close()


@pytest.fixture
def face(kind: Kind) -> Face:
    """The face of this kind, blocking or async."""
    return kind.face


def only(kinds: list[type[Kind]]) -> pytest.MarkDecorator:
    """Run a test over some of the kinds."""
    return pytest.mark.parametrize("kind", kinds, indirect=True, ids=lambda kind: kind.__name__)


# On these each statement is a transaction of its own, outside of a block.
AUTOCOMMIT = [kind for kind in KINDS if kind.autocommits and kind is not DjangoFoundByItself]


def test_a_job_is_there_when_the_transaction_commits(kind: Kind, task: Task, count: Count) -> None:
    kind.begin()
    id = kind.enqueue(task, letter_id=7)
    assert count() == 0
    kind.commit()
    assert count() == 1
    assert isinstance(id, pgjobs.JobId)
    assert id.created


def test_a_job_never_was_when_the_transaction_rolls_back(kind: Kind, task: Task, count: Count) -> None:
    kind.begin()
    kind.enqueue(task, letter_id=7)
    kind.rollback()
    kind.begin()
    kind.enqueue(task, letter_id=8)
    kind.commit()
    assert count() == 1


def test_a_savepoint_that_is_rolled_back_takes_its_jobs_along_and_no_others(
    kind: Kind, app: pgjobs.App, task: Task, count: Count
) -> None:
    def fail() -> None:
        with kind.savepoint():
            kind.enqueue(task, letter_id=2)
            raise ZeroDivisionError

    kind.begin()
    kept = kind.enqueue(task, letter_id=1)
    with pytest.raises(ZeroDivisionError):
        fail()
    assert kind.job(app, kept).payload == {"letter_id": 1}
    kind.enqueue(task, letter_id=3)
    kind.commit()
    assert count() == 2


def test_many_are_all_there_or_none(
    kind: Kind, app: pgjobs.App, task: Task, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgjobs.portions, "CHUNK", CHUNK)
    specs = [task.spec(letter_id=number) for number in range(2 * CHUNK + 50)]
    for end, expected in ((kind.rollback, 0), (kind.commit, len(specs))):
        kind.begin()
        ids = kind.enqueue_many(app, specs)
        assert count() == 0
        assert [kind.job(app, id).payload["letter_id"] for id in (ids[0], ids[-1])] == [0, len(specs) - 1]
        end()
        assert count() == expected


@only(AUTOCOMMIT)
def test_many_outside_of_a_transaction_are_all_there_or_none_too(
    kind: Kind, app: pgjobs.App, task: Task, count: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgjobs.portions, "CHUNK", CHUNK)
    specs = [task.spec(letter_id=7)] * (2 * CHUNK)
    with pytest.raises(pgjobs.InvalidJob):
        kind.enqueue_many(app, [*specs, pgjobs.Spec("t" * 201)])
    assert count() == 0
    kind.enqueue_many(app, specs)
    assert count() == len(specs)


def test_all_settings_travel_and_look_ups_tell_them(kind: Kind, app: pgjobs.App, task: Task) -> None:
    kind.begin()
    settings = {
        "queue": "100% :name %s $1", "priority": pgjobs.Priority.BULK, "delay": 60.25, "max_attempts": 2, "timeout": 5.5,
        "metadata": {"a": ["%s", ":b", 1e23, "$2"]},
    }  # fmt: skip
    text = "%(x)s %% :y $1 \\ '\" é🏔"
    id = kind.enqueue(task, bound=settings, letter_id=7, language=text)
    job = kind.job(app, id)
    assert (job.queue, job.priority, job.max_attempts) == (settings["queue"], pgjobs.Priority.BULK, 2)
    assert (job.payload, job.metadata) == ({"letter_id": 7, "language": text}, settings["metadata"])
    assert job.available_at is not None
    assert (job.available_at - job.enqueued_at).total_seconds() == 60.25
    at = datetime(2099, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert kind.job(app, kind.enqueue(task, bound={"available_at": at}, letter_id=8)).available_at == at
    kind.commit()
    with app.client() as client:
        assert client.job(id) == job


def test_odd_settings_of_the_session_do_not_matter(kind: Kind, app: pgjobs.App, task: Task) -> None:
    kind.begin()
    for setting in (
        "transaction isolation level repeatable read",
        "local DateStyle = 'German'",
        "local TimeZone = 'Asia/Kathmandu'",
        "local IntervalStyle = 'sql_standard'",
        "local search_path = pg_catalog",
        "local extra_float_digits = -15",
        "local standard_conforming_strings = on",
        "local plan_cache_mode = force_custom_plan",
    ):
        if not (
            isinstance(kind, PsycopgServerCursor) and "isolation" in setting
        ):  # too late: it has begun with a query
            kind.execute(f"set {setting}")
    id = kind.enqueue(task, bound={"delay": 90_061.5, "metadata": {"a": 1}}, letter_id=7, language="é")
    job = kind.job(app, id)
    assert kind.enqueue_many(app, [task.spec(letter_id=8)])
    kind.commit()
    with app.client() as client:
        assert client.job(id) == job
    assert job.available_at is not None
    assert (job.available_at - job.enqueued_at).total_seconds() == 90_061.5


def test_a_refused_job_is_our_error_and_a_savepoint_saves_the_rest(
    kind: Kind, app: pgjobs.App, task: Task, count: Count
) -> None:
    def refused() -> None:
        with kind.savepoint():
            kind.enqueue_many(app, [pgjobs.Spec("t", queue="")])

    kind.begin()
    kind.enqueue(task, letter_id=1)
    with pytest.raises(
        pgjobs.InvalidJob,
        match=r"^The name of a queue must have 1 to 200 characters, none of them a control character\.$",
    ):
        refused()
    kind.enqueue(task, letter_id=2)
    kind.commit()
    assert count() == 2


def test_a_refused_job_without_a_savepoint_leaves_a_transaction_that_has_failed(
    kind: Kind, app: pgjobs.App, task: Task, count: Count
) -> None:
    kind.begin()
    kind.enqueue(task, letter_id=1)
    with pytest.raises(pgjobs.InvalidJob):
        kind.enqueue_many(app, [pgjobs.Spec("t", queue="")])
    with pytest.raises(pgjobs.TransactionFailed, match="roll it back"):
        kind.enqueue(task, letter_id=2)
    kind.rollback()
    kind.begin()
    kind.enqueue(task, letter_id=3)
    kind.commit()
    assert count() == 1


def test_a_job_that_is_not_there_is_no_trouble_to_the_transaction(
    kind: Kind, app: pgjobs.App, task: Task, count: Count
) -> None:
    kind.begin()
    with pytest.raises(pgjobs.JobNotFound):
        kind.job(app, 2**40)
    kind.enqueue(task, letter_id=7)
    kind.commit()
    assert count() == 1


def test_a_trouble_of_the_callers_own_stays_what_it_is(kind: Kind, task: Task, count: Count) -> None:
    kind.begin()
    kind.enqueue(task, letter_id=7)
    with pytest.raises(Exception, match=r"letters") as error:
        kind.execute("select * from letters")
    assert not isinstance(error.value, pgjobs.PgjobsError)
    kind.rollback()
    assert count() == 0


def test_an_app_that_requires_a_transaction_takes_this_one(kind: Kind, dsn: str, count: Count) -> None:
    strict = pgjobs.App(dsn, require_tx=True)

    @strict.task
    def read_letter(letter_id: int) -> None: ...

    kind.begin()
    kind.enqueue(read_letter, letter_id=7)
    kind.enqueue_many(strict, [read_letter.spec(letter_id=8)])
    kind.commit()
    assert count() == 2
    kind.face.close_app(strict)


@only(AUTOCOMMIT)
def test_an_app_that_requires_a_transaction_refuses_a_connection_outside_of_one(
    kind: Kind, dsn: str, count: Count
) -> None:
    strict = pgjobs.App(dsn, require_tx=True)

    @strict.task
    def read_letter(letter_id: int) -> None: ...

    for refused in (
        lambda: kind.enqueue(read_letter, letter_id=7),
        lambda: kind.enqueue_many(strict, [read_letter.spec(letter_id=8)]),
    ):
        with pytest.raises(pgjobs.TransactionRequired, match=r"only inside a transaction .* autocommit mode\.$"):
            refused()
    assert count() == 0
    kind.face.close_app(strict)


@only([kind for kind in KINDS if not kind.reopens])
def test_a_closed_connection_is_refused_in_a_sentence(kind: Kind, task: Task) -> None:
    kind.close()
    with pytest.raises(pgjobs.ConnectionFailed, match=r"given as tx is closed"):
        kind.enqueue(task, letter_id=7)
