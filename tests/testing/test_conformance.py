"""One suite over jobs in memory and in the database: what a unit test sees must be what would happen."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import pgjobs
from pgjobs import Cancel, Fail, Fixed, Priority, Retry, Snooze
from pgjobs.calls import Filter, JobFilter
from pgjobs.client import Client
from pgjobs.testing import Clock, InMemory, MemoryClock, assert_enqueued, drain, in_memory

MINUTE = timedelta(minutes=1)
AnyClock = Clock | MemoryClock


@pytest.fixture(params=["in memory", "real"])
def stage(request: pytest.FixtureRequest) -> Iterator[tuple[pgjobs.App, AnyClock]]:
    """An app in memory, and the same on a database; with a clock."""
    if request.param == "real":
        app = pgjobs.App(request.getfixturevalue("dsn"))
        yield app, Clock(request.getfixturevalue("db"))
        app.close()
        return
    app = pgjobs.App()
    with in_memory(app) as memory:
        yield app, memory.clock


@pytest.fixture
def app(stage: tuple[pgjobs.App, AnyClock]) -> pgjobs.App:
    return stage[0]


@pytest.fixture
def clock(stage: tuple[pgjobs.App, AnyClock]) -> AnyClock:
    return stage[1]


@pytest.fixture
def play(app: pgjobs.App) -> pgjobs.Task[..., Any]:
    """A task whose argument says what its handler does; the same again in each run."""

    @app.task(queue="stage", max_attempts=2, retry=Fixed(60))
    def play(part: str = "done", number: int = 0) -> Any:
        match part:
            case "raise":
                raise ValueError(f"broken {number}")
            case "retry":
                raise Retry(30, "once more")
            case "snooze":
                raise Snooze(90)
            case "cancel":
                raise Cancel("not needed")
            case "fail":
                raise Fail("no use")
            case "not json":
                return object()
        return {"part": part, "number": number}

    return play


def ending(job: pgjobs.Job) -> tuple[Any, ...]:
    """What became of a job."""
    return str(job.status), job.attempts, job.run, job.result, job.reason


# Enqueuing and looking


def test_an_enqueued_job_can_be_looked_up(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    id = play.enqueue("x", number=7)
    assert id.created
    job = app.job(id)
    assert (job.id, job.queue, job.task, job.status, job.priority) == (id, "stage", "play", "ready", 0)
    assert (job.payload, job.run, job.attempts, job.crashes) == ({"part": "x", "number": 7}, 0, 0, 0)
    assert (job.max_attempts, job.metadata, job.result, job.reason, job.errors) == (None, None, None, None, ())
    assert (job.worker, job.claimed_at, job.finished_at) == (None, None, None)
    assert job.available_at == job.enqueued_at


def test_options_are_in_the_job(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    task = play.options(
        queue="other", priority=Priority.HIGH, delay=60, max_attempts=9, timeout=5, metadata={"by": ["me"]}
    )
    job = app.job(task.enqueue())
    assert (job.queue, job.priority, job.max_attempts, job.metadata) == ("other", Priority.HIGH, 9, {"by": ["me"]})
    assert job.available_at is not None
    assert job.available_at - job.enqueued_at == MINUTE


def test_an_available_at_in_the_past_means_now(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    job = app.job(play.options(available_at=datetime(2020, 1, 1, tzinfo=UTC)).enqueue())
    assert job.available_at == job.enqueued_at


def test_a_negative_delay_means_now(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    job = app.job(play.options(delay=-60).enqueue())
    assert job.available_at == job.enqueued_at


def test_many_jobs_get_ids_in_the_order_given(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    ids = app.enqueue_many(play.spec(number=n) for n in range(5))
    assert [app.job(id).payload["number"] for id in ids] == [0, 1, 2, 3, 4]
    assert app.enqueue_many([]) == []


def test_half_of_a_generator_that_raises_is_not_enqueued(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    def specs() -> Iterator[pgjobs.Spec]:
        yield play.spec()
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        app.enqueue_many(specs())
    with app.client() as client:
        assert client.jobs() == []


def test_a_payload_is_what_it_was_when_it_was_enqueued(app: pgjobs.App) -> None:
    @app.task
    def count(names: list[str]) -> list[str]:
        names.append("mine")
        return names

    names = ["a"]
    id = count.enqueue(names)
    names.append("b")
    drain(app)
    assert app.job(id).result == ["a", "mine"]
    assert app.job(id).payload == {"names": ["a"]}


def test_arguments_that_do_not_fit_are_refused(play: pgjobs.Task[..., Any]) -> None:
    with pytest.raises(pgjobs.InvalidPayload, match="has no argument 'nobody'"):
        play.enqueue(nobody=1)
    with pytest.raises(pgjobs.InvalidPayload, match="must be an int, not nan"):
        play.enqueue(number=float("nan"))


@pytest.mark.parametrize("id", [0, -1, 12345, 2**70])
def test_a_job_that_never_was_is_not_found(app: pgjobs.App, id: int) -> None:
    with pytest.raises(pgjobs.JobNotFound, match=f"no job with the id {id}"):
        app.job(id)


def test_jobs_are_listed_newest_first_and_by_what_is_asked(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    ids = app.enqueue_many([play.spec(), play.options(queue="other").spec(), replace(play.spec(), task="unknown")])
    with app.client() as client:
        assert [job.id for job in client.jobs()] == ids[::-1]
        assert [job.id for job in client.jobs(limit=1)] == ids[2:]
        assert [job.id for job in client.jobs(queue="stage")] == [ids[2], ids[0]]
        assert [job.id for job in client.jobs(task="play", status=pgjobs.Status.READY)] == [ids[1], ids[0]]
        assert client.jobs(status=pgjobs.Status.DEAD) == []


def test_the_faces_for_event_loops_do_the_same(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    async def main() -> list[pgjobs.Job]:
        ids = [await play.aenqueue("x"), *await app.aenqueue_many([play.spec("y"), play.spec("z")])]
        jobs = [await app.ajob(id) for id in ids]
        await app.aclose()
        return jobs

    assert [job.payload["part"] for job in asyncio.run(main())] == ["x", "y", "z"]


# Running


def test_every_outcome_ends_where_it_says(app: pgjobs.App, play: pgjobs.Task[..., Any], clock: AnyClock) -> None:
    ids = {part: play.enqueue(part) for part in ("done", "raise", "retry", "snooze", "cancel", "fail", "not json")}
    stats = drain(app)
    assert stats == {"done": 1, "failed": 4, "snoozed": 1, "cancelled": 1}
    assert {part: ending(app.job(id)) for part, id in ids.items()} == {
        "done": ("completed", 0, 1, {"part": "done", "number": 0}, None),
        "raise": ("ready", 1, 1, None, None),
        "retry": ("ready", 1, 1, None, None),
        "snooze": ("ready", 0, 1, None, None),
        "cancel": ("cancelled", 0, 1, None, "not needed"),
        "fail": ("dead", 1, 1, None, "failed: Fail: no use"),
        "not json": ("ready", 1, 1, None, None),
    }
    clock.advance(2 * MINUTE)
    assert drain(app) == {"failed": 3, "snoozed": 1}
    assert {part: ending(app.job(ids[part])) for part in ("raise", "retry", "snooze")} == {
        "raise": ("dead", 2, 2, None, "exhausted: ValueError: broken 0"),
        "retry": ("dead", 2, 2, None, "exhausted: Retry: once more"),
        "snooze": ("ready", 0, 2, None, None),
    }


def test_a_retry_waits_for_its_time_to_the_second(
    app: pgjobs.App, play: pgjobs.Task[..., Any], clock: AnyClock
) -> None:
    clock.stop()
    id = play.enqueue("raise")
    drain(app)
    clock.advance(59)
    assert drain(app) == {}
    clock.advance(1)
    assert drain(app) == {"failed": 1}
    assert app.job(id).status == "dead"


def test_errors_tell_of_every_attempt(app: pgjobs.App, play: pgjobs.Task[..., Any], clock: AnyClock) -> None:
    id = play.enqueue("raise", 3)
    drain(app)
    clock.advance(MINUTE)
    drain(app)
    first, second = app.job(id).errors
    assert (first.run, first.attempt, first.error, first.message) == (1, 1, "ValueError", "broken 3")
    assert (second.run, second.attempt) == (2, 2)
    assert second.failed_at - first.failed_at >= MINUTE
    assert first.started_at <= first.failed_at
    assert "in play" in (first.traceback or "")


def test_the_jobs_own_settings_go_before_the_tasks(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    id = play.options(max_attempts=1).enqueue("raise")
    drain(app)
    assert app.job(id).status == "dead"


def test_the_handler_sees_its_run(app: pgjobs.App, clock: AnyClock) -> None:
    seen = []

    @app.task(max_attempts=3, retry=Fixed(0))
    async def look(job: pgjobs.JobContext) -> None:
        seen.append((job.id, job.run, job.attempt, job.max_attempts, job.is_final_attempt, job.metadata, job.timeout))
        if job.run == 1:
            raise Snooze(0)
        raise ValueError("half way")

    id = look.options(metadata={"a": 1}, timeout=9).enqueue()
    drain(app)
    nine = timedelta(seconds=9)
    assert seen == [
        (id, run, attempt, 3, attempt == 3, {"a": 1}, nine) for run, attempt in [(1, 1), (2, 1), (3, 2), (4, 3)]
    ]


def test_jobs_run_by_priority_then_by_time(app: pgjobs.App, clock: AnyClock) -> None:
    ran = []

    @app.task
    async def run(name: str) -> None:
        ran.append(name)

    run.options(delay=60).enqueue("late")
    run.options(priority=Priority.BULK).enqueue("bulk")
    run.options(delay=30).enqueue("later")
    run.options(priority=Priority.CRITICAL, delay=90).enqueue("critical")
    run.enqueue("now")
    clock.advance(2 * MINUTE)
    drain(app, concurrency=1)
    assert ran == ["critical", "now", "later", "late", "bulk"]


def test_a_delayed_job_waits_for_its_time(app: pgjobs.App, play: pgjobs.Task[..., Any], clock: AnyClock) -> None:
    id = play.options(delay=60).enqueue()
    assert drain(app) == {}
    clock.advance(MINUTE)
    assert drain(app) == {"done": 1}
    assert app.job(id).status == "completed"


def test_what_a_handler_enqueues_is_run_too_in_whatever_queue(app: pgjobs.App) -> None:
    @app.task(queue="a")
    def ping(left: int) -> None:
        if left:
            pong.enqueue(left - 1)

    @app.task(queue="b")
    async def pong(left: int) -> None:
        if left:
            await ping.options(queue="c").aenqueue(left - 1)
        await app.aclose()

    ping.enqueue(5)
    assert drain(app) == {"done": 6}


def test_only_the_queues_that_are_named_are_drained(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    here, there = play.enqueue(), play.options(queue="other").enqueue()
    assert drain(app, ["other"]) == {"done": 1}
    assert (app.job(here).status, app.job(there).status) == ("ready", "completed")


def test_arguments_and_results_travel_as_their_types_say(app: pgjobs.App) -> None:
    seen = []

    @app.task
    def keep(at: datetime, parts: tuple[int, ...]) -> timedelta:
        seen.append((at, parts))
        return timedelta(minutes=1)

    at = datetime(2030, 5, 17, 12, tzinfo=UTC)
    id = keep.enqueue(at, parts=(1, 2))
    drain(app, raise_on_failure=True)
    assert seen == [(at, (1, 2))]
    (job,) = assert_enqueued(app, keep, at=at, parts=(1, 2))
    assert (job.id, job.result) == (id, app.job(id).result)


def test_an_older_payload_is_brought_up_to_date_and_a_newer_one_waits(app: pgjobs.App) -> None:
    @app.task(version=2)
    def greet(name: str) -> str:
        return name

    @greet.upcast(from_version=1)
    def _(payload: dict[str, Any]) -> dict[str, Any]:
        return {"name": payload["who"]}

    older, newer = (
        app.enqueue_spec(replace(greet.spec("x"), version=version, payload='{"who": "you"}')) for version in (None, 3)
    )
    assert (app.job(older).version, app.job(newer).version) == (1, 3)
    assert drain(app) == {"done": 1, "snoozed": 1}
    assert ending(app.job(older)) == ("completed", 0, 1, "you", None)
    assert ending(app.job(newer)) == ("ready", 0, 1, None, None)


def test_policies_say_which_errors_are_tried_again(app: pgjobs.App) -> None:
    @app.task(retry_on=ConnectionError, retry=Fixed(60))
    def work(transient: bool) -> None:
        raise ConnectionError if transient else ValueError("for good")

    again, over = work.enqueue(True), work.enqueue(False)
    drain(app)
    assert ending(app.job(again)) == ("ready", 1, 1, None, None)
    assert ending(app.job(over)) == ("dead", 1, 1, None, "failed: ValueError: for good")


def test_a_retry_that_would_come_too_late_is_not_begun(app: pgjobs.App, clock: AnyClock) -> None:
    @app.task(give_up_after=100, retry=Fixed(60), max_attempts=10)
    def work() -> None:
        raise ValueError("broken")

    clock.stop()
    id = work.enqueue()
    drain(app)
    clock.advance(60)
    drain(app)
    assert ending(app.job(id)) == ("dead", 2, 2, None, "gave_up: ValueError: broken")
    with app.client() as client:
        client.retry_failed(Filter(), 10)
    drain(app)
    assert ending(app.job(id)) == ("ready", 1, 3, None, None)


def test_a_death_enqueues_the_job_that_is_to_be_told_and_no_chain(app: pgjobs.App, clock: AnyClock) -> None:
    told: list[dict[str, Any]] = []

    @app.task(queue="told", on_failure="tell", max_attempts=1)
    def tell(failed: pgjobs.FailedJob) -> None:
        told.append(dict(failed))
        raise ValueError

    @app.task(on_failure=tell)
    def die(n: int) -> None:
        raise Fail("no use")

    clock.stop()
    id = die.options(metadata={"by": "me"}).enqueue(7)
    assert drain(app) == {"failed": 2}
    (one,) = told
    times = [datetime.fromisoformat(one.pop(name)) for name in ("enqueued_at", "failed_at")]
    assert times == [app.job(id).enqueued_at, app.job(id).finished_at]
    assert one == {
        "job_id": id, "run": 1, "task": "die", "queue": "default", "payload": {"n": 7}, "metadata": {"by": "me"},
        "reason": "failed", "error": "Fail: no use", "attempts": 1, "crashes": 0,
    }  # fmt: skip
    with app.client() as client:
        (job,) = client.jobs(task="tell")
    assert (job.status, job.queue, job.metadata) == ("dead", "told", {"on_failure_of": id})


def test_what_is_around_enqueues_and_runs_is_around_them(app: pgjobs.App) -> None:
    said = []

    @app.around_enqueue
    def mark(spec: pgjobs.Spec) -> Any:
        said.append((yield replace(spec, metadata='{"marked": true}')))

    @app.around_run
    def follow(job: pgjobs.JobContext) -> Any:
        said.append(job.metadata)
        said.append((yield))

    @app.task
    def work() -> str:
        return "done"

    id = work.enqueue()
    drain(app)
    assert said == [id, {"marked": True}, "done"]


def test_a_task_that_keeps_nothing_leaves_nothing(app: pgjobs.App) -> None:
    @app.task(keep="nothing")
    def fleeting() -> None: ...

    id = fleeting.enqueue()
    assert drain(app) == {"done": 1}
    with pytest.raises(pgjobs.JobNotFound):
        app.job(id)


def test_a_job_of_an_unknown_task_is_left_for_later_uncounted(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    id = app.enqueue_spec(replace(play.spec(), task="unknown"))
    assert drain(app) == {"snoozed": 1}
    assert ending(app.job(id)) == ("ready", 0, 1, None, None)


# Steering


def test_dead_letters_are_found_and_retried(app: pgjobs.App, play: pgjobs.Task[..., Any], clock: AnyClock) -> None:
    first, second = play.enqueue("fail"), play.options(queue="other").enqueue("fail")
    drain(app)
    clock.advance(MINUTE)
    third = play.options(max_attempts=1).enqueue("raise", 7)
    drain(app)
    with app.client() as client:

        def failed(**filter: Any) -> list[int]:
            return client.failed(Filter(**filter), 10)

        assert failed() == [first, second, third]
        assert failed(queue="other") == [second]
        assert failed(task="nobody") == []
        assert failed(error="BROKEN 7") == [third]
        assert failed(since=MINUTE / 2) == [third]
        assert failed(ids=[third, first]) == [first, third]
        assert client.failed(Filter(), 1, after=first) == [second]
        assert client.retry_failed(Filter(queue="stage"), 10) == [first, third]
        assert failed() == [second]
    assert ending(app.job(first)) == ("ready", 0, 1, None, None)
    assert [error.error for error in app.job(first).errors] == ["Fail"]
    drain(app)
    assert ending(app.job(first)) == ("dead", 1, 2, None, "failed: Fail: no use")
    assert [error.run for error in app.job(first).errors] == [1, 2]


def test_nothing_is_retried_when_a_named_id_is_not_there(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    id = play.enqueue("fail")
    drain(app)
    with app.client() as client, pytest.raises(pgjobs.JobNotFound, match="no dead letter with the id 999"):
        client.retry_failed(Filter(ids=[id, 999]), 10)
    assert app.job(id).status == "dead"


def bury(app: pgjobs.App, play: pgjobs.Task[..., Any], *queues: str) -> list[int]:
    """Make a dead letter in each of these queues."""
    ids = [int(play.options(queue=queue).enqueue("fail")) for queue in queues]
    drain(app, sorted(set(queues)))
    return ids


def test_an_app_retries_dead_letters_by_conditions_or_by_their_ids(
    app: pgjobs.App, play: pgjobs.Task[..., Any], clock: AnyClock
) -> None:
    first, second, third, other = bury(app, play, "stage", "stage", "stage", "other")
    assert app.retry_failed(queue="stage", limit=2) == [first, second]
    assert app.retry_failed(other, third) == [third, other]
    assert app.retry_failed() == []
    assert [job.status for job in app.jobs()] == ["ready"] * 4
    (again,) = bury(app, play, "later")
    clock.advance(MINUTE)
    assert app.retry_failed(since=MINUTE / 2) == []
    assert app.retry_failed(error="NO USE", task="play") == [again]
    with pytest.raises(pgjobs.JobNotFound, match="no dead letter with the id 999; nothing was retried"):
        app.retry_failed(999)


def test_an_app_clears_dead_letters(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    first, second, other = bury(app, play, "stage", "stage", "other")
    with pytest.raises(pgjobs.JobNotFound, match="no dead letter with the id 999; nothing was deleted"):
        app.clear_failed(first, 999)
    assert app.clear_failed(queue="stage") == [first, second]
    with pytest.raises(pgjobs.JobNotFound):
        app.job(first)
    assert app.job(other).status == "dead"


def test_waiting_jobs_are_cancelled_and_what_is_over_is_in_no_list(
    app: pgjobs.App, play: pgjobs.Task[..., Any]
) -> None:
    waits, over = play.options(delay=60).enqueue(), play.enqueue()
    drain(app)
    assert app.cancel(over, waits, waits, 999, reason="ordered twice") == pgjobs.Cancellation([waits], [], [])
    assert ending(app.job(waits)) == ("cancelled", 0, 0, None, "ordered twice")
    assert app.job(over).status == "completed"
    with app.client() as client:
        assert client.whereabouts([over, waits, 999]) == {over: "completed", waits: "cancelled"}


def test_conditions_mean_the_same(app: pgjobs.App, play: pgjobs.Task[..., Any], clock: AnyClock) -> None:
    clock.stop()
    data = {"by": {"name": "ann", "tags": ["a", "b"]}, "n": 1}
    old = play.options(metadata=data).enqueue()
    clock.advance(MINUTE)
    later = play.options(delay=60, metadata={"by": None, "n": True}).enqueue()
    other = play.options(queue="other").enqueue()
    bury(app, play, "dead")
    chosen = [
        (JobFilter(), [old, later, other]), (JobFilter(ids=[other, old, 999]), [old, other]),
        (JobFilter(queue="stage"), [old, later]), (JobFilter(task="nobody"), []),
        (JobFilter(status="ready"), [old, other]), (JobFilter(status="scheduled"), [later]),
        (JobFilter(status="waiting"), []), (JobFilter(status="running"), []),
        (JobFilter(older_than=MINUTE), []), (JobFilter(older_than=MINUTE / 2), [old]),
        (JobFilter(newer_than=MINUTE), [old, later, other]), (JobFilter(newer_than=MINUTE / 2), [later, other]),
        *((JobFilter(metadata=json), ids) for json, ids in (
            ("{}", [old, later]), ('{"by": {"tags": ["b"]}}', [old]), ('{"by": {"tags": ["b", "c"]}}', []),
            ('{"by": {"tags": "b"}}', []), ('{"by": null}', [later]), ('{"n": 1}', [old]), ('{"n": 1.0}', [old]),
            ('{"n": true}', [later]), ('{"by": {}}', [old]), ('{"who": null}', []),
        )),
    ]  # fmt: skip
    with app.client() as client:
        for filter, ids in chosen:
            assert client.matching(filter, 10) == ids, filter
        assert client.matching(JobFilter(), 1, after=old) == [later]


def test_jobs_are_cancelled_by_conditions(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    first, second, other = (play.options(queue=queue).enqueue() for queue in ("stage", "stage", "other"))
    assert app.cancel_where(queue="stage", limit=1, reason="why") == pgjobs.Cancellation([first], [], [])
    assert app.cancel_where(task="play") == pgjobs.Cancellation([second, other], [], [])
    assert [app.job(id).reason for id in (first, second)] == ["why", None]
    with pytest.raises(pgjobs.InvalidJob, match="Say which jobs"):
        app.cancel_where()


def test_jobs_are_moved_and_are_due_now_at_the_earliest(
    app: pgjobs.App, play: pgjobs.Task[..., Any], clock: AnyClock
) -> None:
    clock.stop()
    now, later, there = play.enqueue(), play.options(delay=90).enqueue(), play.options(queue="other").enqueue()
    clock.advance(MINUTE)
    assert app.move("stage", "other") == [now, later]
    assert app.move("other", "other", limit=1) == [now]
    assert [app.job(id).queue for id in (now, later, there)] == ["other"] * 3
    at = clock.now()
    times = [app.job(id).available_at for id in (now, later, there)]
    assert times == [at, at + MINUTE / 2, at - MINUTE]
    for arguments in ({"to_queue": "a\n"}, {"to_queue": "b", "status": "running"}, {"to_queue": "b", "status": "done"}):
        with pytest.raises(pgjobs.InvalidJob):
            app.move("other", **arguments)  # type: ignore[arg-type]


def test_a_job_that_waits_is_edited(app: pgjobs.App, play: pgjobs.Task[..., Any], clock: AnyClock) -> None:
    clock.stop()
    id = play.options(metadata={"a": 1}).enqueue()
    clock.advance(MINUTE)
    app.edit(id, payload={"part": "done", "number": 8}, max_attempts=9, timeout=5)
    job = app.job(id)
    assert (job.payload["number"], job.max_attempts, job.metadata, job.priority) == (8, 9, {"a": 1}, 0)
    assert job.available_at == clock.now() - MINUTE
    app.edit(id, priority=Priority.HIGH, metadata={})
    job = app.job(id)
    assert (job.priority, job.metadata, job.available_at) == (-1, {}, clock.now())
    app.edit(id, queue="other", delay=60)
    assert app.job(id).available_at == clock.now() + MINUTE
    app.edit(id, available_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert app.job(id).available_at == clock.now()
    drain(app)
    assert (app.job(id).queue, app.job(id).result) == ("other", {"part": "done", "number": 8})


@pytest.mark.parametrize(
    "change",
    [
        {"priority": 3}, {"queue": ""}, {"max_attempts": 0}, {"timeout": 0}, {"payload": {"nobody": 1}},
        {"delay": 1, "available_at": datetime(2030, 1, 1, tzinfo=UTC)},
    ],
)  # fmt: skip
def test_an_edit_that_makes_no_sense_changes_nothing(
    app: pgjobs.App, play: pgjobs.Task[..., Any], change: dict[str, Any]
) -> None:
    id = play.enqueue()
    before = app.job(id)
    with pytest.raises((pgjobs.InvalidJob, pgjobs.InvalidPayload)):
        app.edit(id, **change)
    assert app.job(id) == before
    drain(app)
    with pytest.raises(pgjobs.JobNotWaiting, match=f"^Job {id} is completed and cannot be changed any more"):
        app.edit(id, priority=1)
    with pytest.raises(pgjobs.JobNotFound, match="There is no job with the id 999"):
        app.edit(999, priority=1)


def test_steering_in_an_event_loop_is_the_same(app: pgjobs.App, play: pgjobs.Task[..., Any]) -> None:
    (dead,) = bury(app, play, "stage")

    async def main() -> None:
        assert await app.aretry_failed() == [dead]
        await app.aedit(dead, priority=1, payload={"part": "fail", "number": 2})
        assert await app.amove("stage", "other") == [dead]
        assert await app.acancel_where(queue="other") == pgjobs.Cancellation([dead], [], [])
        assert await app.acancel(dead) == pgjobs.Cancellation([], [], [])
        assert await app.aclear_failed() == []
        assert [job.payload["number"] for job in await app.ajobs()] == [2]
        await app.aclose()

    asyncio.run(main())


def test_queues_are_counted(app: pgjobs.App, play: pgjobs.Task[..., Any], clock: AnyClock) -> None:
    clock.stop()
    play.enqueue("fail")
    play.options(queue="gone").enqueue()
    drain(app)
    play.enqueue()
    clock.advance(5)
    play.enqueue()
    play.options(delay=60).enqueue()
    with app.client() as client:
        (queue,) = client.queue_overview()
    assert (queue.queue, queue.ready, queue.scheduled, queue.running, queue.dead) == ("stage", 2, 1, 0, 1)
    assert (queue.waiting_for, queue.paused) == (timedelta(seconds=5), False)


# The clock


def test_the_clock_moves_and_stands(app: pgjobs.App, clock: AnyClock) -> None:
    before = clock.now()
    clock.advance(timedelta(hours=1))
    assert timedelta(hours=1) <= clock.now() - before < timedelta(hours=1, minutes=1)
    at = datetime(2030, 5, 17, 12, tzinfo=UTC)
    clock.stop(at)
    assert clock.now() == at
    clock.advance(-1.5)
    clock.stop()
    assert clock.now() == at - timedelta(seconds=1.5)
    with app.client() as client:
        assert client.now() == clock.now()


# What only memory has: its limits


def verbs() -> list[str]:
    return [name for name in vars(InMemory) if name in vars(Client) and not name.startswith("_")]


@pytest.mark.parametrize("name", verbs())
def test_a_verb_in_memory_has_the_signature_of_the_real_one(name: str) -> None:
    assert inspect.signature(getattr(InMemory, name)) == inspect.signature(getattr(Client, name))
    assert inspect.getdoc(getattr(InMemory, name)) == inspect.getdoc(getattr(Client, name))
