"""What a task's policy makes of an exception."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import pgjobs
from pgjobs import Cancel, ConfigurationError, Fail, Fixed, Retry, Snooze, Steps
from pgjobs.outcome import Cancelled, Failed, Outcome, Snoozed
from pgjobs.policy import Policy


def outcome(error: BaseException, attempt: int = 1, **policy: Any) -> Outcome:
    return Policy.make("t", **policy).outcome(error, attempt)


def final(error: BaseException, **policy: Any) -> bool:
    """Whether this exception is not tried again."""
    found = outcome(error, **policy)
    assert isinstance(found, Failed)
    return found.final


def is_busy(error: BaseException) -> bool:
    return "busy" in str(error)


@pytest.mark.parametrize(
    ("retry_on", "retried", "failed"),
    [
        (OSError, [OSError(), ConnectionResetError()], [ValueError()]),
        ((OSError, KeyError), [TimeoutError(), KeyError(1)], [IndexError()]),
        ([OSError, KeyError], [TimeoutError(), KeyError(1)], [IndexError()]),
        (is_busy, [ValueError("busy"), OSError("it is busy")], [OSError("gone")]),
        (None, [OSError(), ValueError()], []),
        ((), [], [OSError(), ValueError()]),
    ],
)
def test_with_retry_on_other_exceptions_are_not_tried_again(
    retry_on: Any, retried: list[BaseException], failed: list[BaseException]
) -> None:
    assert [final(error, retry_on=retry_on) for error in retried] == [False] * len(retried)
    assert [final(error, retry_on=retry_on) for error in failed] == [True] * len(failed)


def test_fail_on_goes_before_retry_on() -> None:
    both: dict[str, Any] = {"retry_on": OSError, "fail_on": FileNotFoundError}
    assert not final(ConnectionResetError(), **both)
    assert final(FileNotFoundError(), **both)
    assert final(ValueError(), fail_on=lambda error: isinstance(error, ValueError))
    assert not final(KeyError(), fail_on=ValueError)


def test_what_a_handler_says_itself_goes_before_every_policy() -> None:
    strict: dict[str, Any] = {"retry_on": (), "fail_on": BaseException}
    assert outcome(Snooze(5), **strict) == Snoozed(timedelta(seconds=5))
    assert outcome(Cancel("enough"), **strict) == Cancelled("enough")
    assert outcome(Retry(5, "busy"), **strict) == Failed("Retry", "busy", delay=timedelta(seconds=5))
    assert outcome(Fail("no"), retry_on=BaseException) == Failed("Fail", "no", final=True)


def test_a_group_is_retried_if_all_in_it_is_and_failed_if_anything_in_it_is() -> None:
    mixed = ExceptionGroup("both", [OSError(), ExceptionGroup("inner", [ValueError()])])
    assert final(mixed, retry_on=OSError)
    assert not final(mixed, retry_on=(OSError, ValueError))
    assert final(mixed, fail_on=ValueError)
    assert not final(mixed, fail_on=KeyError)
    assert not final(mixed, retry_on=ExceptionGroup)


def test_a_policy_that_raises_decides_nothing_and_is_told_of() -> None:
    def broken(error: BaseException) -> bool:
        raise KeyError("oops")

    for which in "retry_on", "fail_on":
        options: dict[str, Any] = {which: broken}
        found = outcome(ValueError("no"), **options)
        assert isinstance(found, Failed)
        assert not found.final
        assert found.message == "no (retry_on or fail_on of its task raised KeyError)"


# The wait


def test_a_list_of_waits_is_gone_through_and_its_last_is_repeated() -> None:
    steps = Policy.make("t", retry=[1, timedelta(minutes=1), 60.5]).retry
    assert [steps.delay(attempt).total_seconds() for attempt in (1, 2, 3, 4, 100)] == [1, 60, 60.5, 60.5, 60.5]
    assert Steps((10,), jitter=0.5).delay(1) <= timedelta(seconds=15)


def test_a_function_says_how_long_to_wait_after_which_exception() -> None:
    def wait(attempt: int, error: BaseException) -> float | timedelta:
        return 5.0 * attempt if isinstance(error, OSError) else timedelta(minutes=attempt)

    for error, attempt, seconds in (OSError(), 3, 15), (ValueError(), 2, 120), (Retry(), 4, 240), (Retry(9), 1, 9):
        found = outcome(error, attempt, retry=wait)
        assert isinstance(found, Failed)
        assert found.delay == timedelta(seconds=seconds)


@pytest.mark.parametrize("answer", [None, "soon", -1, float("nan"), KeyError("no answer")])
def test_a_wait_that_makes_no_sense_is_an_exponential_one(answer: Any) -> None:
    def wait(attempt: int, error: BaseException) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    policy = Policy.make("t", retry=wait)
    found = policy.outcome(ValueError("no"), 1)
    assert isinstance(found, Failed)
    assert found.delay is None
    assert found.message.startswith("no (retry of its task raised ")
    assert timedelta(seconds=1.6) <= policy.retry.delay(1) <= timedelta(seconds=2.4)


def test_a_wait_is_a_year_at_most() -> None:
    found = outcome(ValueError(), retry=lambda attempt, error: 1e300)
    assert isinstance(found, Failed)
    assert found.delay == timedelta(days=365)


# Declaring


def listen(failed: pgjobs.FailedJob) -> None: ...


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"retry": []}, "retry of t is a list of waits that makes no sense: at least one wait is needed"),
        ({"retry": [1, -1]}, "a wait is zero or more seconds"),
        ({"retry": ["soon"]}, "retry of t is a list of waits that makes no sense"),
        ({"retry": "soon"}, "retry of t must be a backoff"),
        ({"retry_on": "OSError"}, "retry_on of t must be exception classes or a function"),
        ({"retry_on": (OSError, 5)}, "retry_on of t must be exception classes"),
        ({"fail_on": int}, "fail_on of t must be exception classes"),
        ({"give_up_after": 0}, "give_up_after of t must be longer than nothing"),
        ({"give_up_after": "1h"}, "give_up_after of t must be seconds or a timedelta, not '1h'"),
        ({"on_failure": listen}, "on_failure of t must be a task or its name"),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", str(value)),
)
def test_a_policy_that_makes_no_sense_is_refused_at_once(options: dict[str, Any], why: str) -> None:
    app = pgjobs.App("host=nowhere.invalid")
    with pytest.raises(ConfigurationError, match=why):
        app.task(name="t", **options)(lambda: None)


def one_more(failed: dict[str, Any], x: int) -> None: ...
def none(x: int) -> None: ...
def any_at_all(**what: Any) -> None: ...
def with_default(failed: dict[str, Any], job: pgjobs.JobContext, x: int = 5) -> None: ...


@pytest.mark.parametrize(
    ("function", "fits"), [(listen, True), (any_at_all, True), (with_default, True), (one_more, False), (none, False)]
)
def test_a_worker_does_not_start_unless_the_task_of_on_failure_can_be_told(
    function: Callable[..., None], fits: bool
) -> None:
    app = pgjobs.App("host=nowhere.invalid")
    app.task(name="t", on_failure="tell")(lambda: None)
    with pytest.raises(ConfigurationError, match="names the task 'tell', which the app does not have"):
        app.make_worker()
    app.task(name="tell")(function)
    if fits:
        app.make_worker()
    else:
        with pytest.raises(ConfigurationError, match=r"which must have one argument: def tell\(failed: pgjobs"):
            app.make_worker()


def test_on_failure_takes_a_task_or_its_name() -> None:
    app = pgjobs.App("host=nowhere.invalid")
    tell = app.task(listen)
    for way in tell, "listen":
        assert (
            app.task(name=f"by {type(way).__name__}", on_failure=way)(lambda: None).options_.policy.on_failure
            == "listen"
        )
    assert Policy.make("t", retry=Fixed(3)).retry == Fixed(3)
