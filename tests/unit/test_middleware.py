"""Middleware: what happens around a run and an enqueue, and what a middleware can and cannot do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import pgjobs
from pgjobs import ConfigurationError, InvalidPayload, JobContext, JobInterrupted, Spec
from pgjobs.job import JobId
from pgjobs.middleware import Around, Enqueuing, log_runs, with_arguments, with_metadata
from pgjobs.outcome import Failed

NOW = datetime(2030, 1, 1, tzinfo=UTC)
JOB = JobContext(7, 2, "ocr", "read", 1, 5, NOW, NOW, None)
Said = list[Any]


@pytest.fixture
def said() -> Said:
    """What the middleware said, in order."""
    return []


def teller(said: Said, name: str) -> Any:
    def tell(subject: Any) -> Generator[Any, Any, None]:
        said.append(f"{name} before")
        try:
            result = yield subject
        except BaseException as error:
            said.append(f"{name} {type(error).__name__}")
            raise
        said.append(f"{name} after {result}")

    return tell


def test_the_first_is_the_outermost_and_each_sees_the_result(said: Said) -> None:
    with Around([teller(said, "a"), teller(said, "b")], JOB) as around:
        said.append("run")
        around.result = 5
    assert said == ["a before", "b before", "run", "b after 5", "a after 5"]


def test_an_exception_passes_through_all_of_them_unchanged(said: Said) -> None:
    error = ValueError("no")
    with pytest.raises(ValueError, match="no") as caught, Around([teller(said, "a"), teller(said, "b")], JOB):
        raise error
    assert caught.value is error
    assert said == ["a before", "b before", "b ValueError", "a ValueError"]


def test_one_may_put_another_exception_in_its_place(said: Said) -> None:
    def translate(job: JobContext) -> Iterator[None]:
        try:
            yield
        except KeyError as error:
            raise pgjobs.Snooze(5) from error

    with pytest.raises(pgjobs.Snooze), Around([teller(said, "a"), translate], JOB):
        raise KeyError
    assert said == ["a before", "a Snooze"]


def swallow(job: Any) -> Iterator[Any]:
    with contextlib.suppress(BaseException):
        yield job


def test_one_may_swallow_an_exception_and_then_there_is_no_result(said: Said) -> None:
    with Around([teller(said, "a"), swallow], JOB) as around:
        raise ValueError
    assert around.result is None
    assert said == ["a before", "a after None"]


@pytest.mark.parametrize("stop", [asyncio.CancelledError, JobInterrupted])
def test_none_may_swallow_that_the_run_is_to_stop(said: Said, stop: type[BaseException]) -> None:
    with pytest.raises(stop), Around([teller(said, "a"), swallow], JOB):
        raise stop
    assert said == ["a before", f"a {stop.__name__}"]


def test_what_one_raises_afterwards_counts(said: Said) -> None:
    def strict(job: JobContext) -> Iterator[None]:
        yield
        raise ValueError("not good enough")

    with pytest.raises(ValueError, match="not good enough"), Around([teller(said, "a"), strict], JOB) as around:
        around.result = 5
    assert said == ["a before", "a ValueError"]


def test_what_one_raises_before_keeps_the_inner_from_being_entered(said: Said) -> None:
    def refuse(job: JobContext) -> Iterator[None]:
        raise pgjobs.Cancel("not today")
        yield

    with pytest.raises(pgjobs.Cancel), Around([teller(said, "a"), refuse, teller(said, "b")], JOB):
        said.append("run")
    assert said == ["a before", "a Cancel"]
    with pytest.raises(RuntimeError, match="swallowed what refuse raised"), Around([swallow, refuse], JOB):
        said.append("run")


def test_one_that_yields_not_once_is_told_so(said: Said) -> None:
    def never(job: JobContext) -> Iterator[None]:
        return
        yield

    def twice(job: JobContext) -> Iterator[None]:
        yield
        yield

    def again(job: JobContext) -> Iterator[None]:
        try:
            yield
        except ValueError:
            yield

    with pytest.raises(RuntimeError, match="ended without a yield"), Around([teller(said, "a"), never], JOB):
        said.append("run")
    with pytest.raises(RuntimeError, match="twice yielded more than once"), Around([twice], JOB):
        said.append("run")
    with pytest.raises(RuntimeError, match="again yielded more than once"), Around([again], JOB):
        raise ValueError
    assert said == ["a before", "a RuntimeError", "run"]


def test_only_a_generator_function_can_be_one() -> None:
    app = pgjobs.App("host=nowhere.invalid")

    @contextlib.contextmanager
    def manager(job: JobContext) -> Iterator[None]:
        yield

    for wrong in print, manager, 5:
        with pytest.raises(ConfigurationError, match=r"generator function that yields once.*def around\(job\): yield"):
            app.around_run(wrong)  # type: ignore[type-var]
        with pytest.raises(ConfigurationError, match=r"def around\(spec\): yield spec"):
            app.around_enqueue(wrong)  # type: ignore[type-var]


# Around an enqueue


def test_an_enqueue_is_of_what_they_made_of_the_job(said: Said) -> None:
    def tag(spec: Spec) -> Generator[Spec, JobId, None]:
        id = yield with_metadata(spec, by="tag")
        said.append(id)

    specs = [Spec("work"), Spec("work", '{"x":1}', metadata='{"a":1}')]
    with Enqueuing([tag, teller(said, "b")], specs) as enqueuing:
        changed = list(enqueuing.specs)
        enqueuing.ids = [JobId(1), JobId(2)]
    assert [json.loads(spec.metadata or "") for spec in changed] == [{"by": "tag"}, {"a": 1, "by": "tag"}]
    assert enqueuing.done() == [1, 2]
    assert said == ["b before", "b before", "b after 2", 2, "b after 1", 1]


def test_an_enqueue_that_fails_is_told_to_all_and_its_error_is_not_to_be_swallowed(said: Said) -> None:
    with pytest.raises(ValueError, match="no"), Enqueuing([teller(said, "a")], [Spec("x"), Spec("y")]):
        raise ValueError("no")
    assert said == ["a before", "a before", "a ValueError", "a ValueError"]
    with Enqueuing([swallow], [Spec("x")]) as enqueuing:
        raise ValueError("no")
    with pytest.raises(RuntimeError, match="swallowed the error of an enqueue"):
        enqueuing.done()


def test_one_that_refuses_a_job_refuses_the_whole_batch(said: Said) -> None:
    def small(spec: Spec) -> Generator[Spec, JobId, None]:
        if len(spec.payload) > 10:
            raise pgjobs.InvalidJob("too large")
        yield spec

    specs = [Spec("x"), Spec("y", '{"text":"0123456789"}')]
    with pytest.raises(pgjobs.InvalidJob), Enqueuing([teller(said, "a"), small], specs):
        said.append("enqueued")
    assert said == ["a before", "a before", "a InvalidJob", "a InvalidJob"]


def test_one_that_yields_no_spec_is_told_so() -> None:
    def forgetful(spec: Spec) -> Iterator[Any]:
        yield

    with pytest.raises(ConfigurationError, match="must yield the Spec, changed or not, not None"):
        Enqueuing([forgetful], [Spec("x")]).__enter__()


def test_arguments_and_metadata_are_added_and_replaced() -> None:
    spec = Spec("work", '{"a":1,"b":[1e+16]}', metadata='{"m":1}')
    assert json.loads(with_arguments(spec, b=2, c="é").payload) == {"a": 1, "b": 2, "c": "é"}
    assert json.loads(with_metadata(spec, m=2).metadata or "") == {"m": 2}
    with pytest.raises(InvalidPayload, match="The argument 'c' of work cannot be enqueued"):
        with_arguments(spec, c=object())


# Our own


@pytest.mark.parametrize(
    ("result", "how"),
    [(None, "finished"), (Failed("ValueError", "no"), "ended by ValueError"), (KeyError(), "ended by KeyError")],
    ids=str,
)
def test_a_run_is_logged_with_the_job_as_fields(caplog: pytest.LogCaptureFixture, result: Any, how: str) -> None:
    caplog.set_level(logging.INFO)
    with contextlib.suppress(KeyError), Around([log_runs], JOB) as around:
        if isinstance(result, BaseException):
            raise result
        around.result = result
    first, last = caplog.records
    assert first.getMessage() == "started, attempt 1 of 5"
    assert last.getMessage().startswith(f"{how} after ")
    for record in caplog.records:
        assert [getattr(record, name) for name in ("job", "run", "queue", "task")] == [7, 2, "ocr", "read"]
