"""What an exception of a handler means, whatever the exception is like."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest

from pgjobs import Cancel, Fail, Retry, Snooze
from pgjobs.checks import as_timedelta
from pgjobs.errors import ConfigurationError
from pgjobs.outcome import Cancelled, Failed, Outcome, Snoozed, from_exception


def raised(error: BaseException) -> BaseException:
    """The exception with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def failed(error: BaseException) -> Failed:
    outcome = from_exception(raised(error))
    assert isinstance(outcome, Failed)
    for text in (outcome.error, outcome.message, outcome.traceback or ""):
        assert "\0" not in text
        text.encode()
    return outcome


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Snooze(30), Snoozed(timedelta(seconds=30))),
        (Snooze(timedelta(minutes=5)), Snoozed(timedelta(minutes=5))),
        (Cancel("nobody waits for it"), Cancelled("nobody waits for it")),
        (Fail("no such letter"), Failed("Fail", "no such letter", final=True)),
        (Retry(), Failed("Retry", "asked to retry")),
        (Retry(1.5, "busy"), Failed("Retry", "busy", delay=timedelta(seconds=1.5))),
        (Cancel("NUL \0 and \ud800"), Cancelled("NUL \\x00 and \\ud800")),
        (Fail("x" * 20_000), Failed("Fail", "x" * 5_000 + "... (10000 characters left out) ..." + "x" * 5_000, final=True)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_a_handler_raises_to_say_more(error: BaseException, outcome: Outcome) -> None:
    assert from_exception(raised(error)) == outcome


def test_they_are_not_swallowed_by_a_handlers_own_except_exception() -> None:
    for kind in (Retry, Snooze, Cancel, Fail):
        assert not issubclass(kind, Exception)


def test_an_exception_is_a_failed_attempt_with_its_name_message_and_traceback() -> None:
    outcome = failed(ValueError("7 is not a letter"))
    assert (outcome.error, outcome.message) == ("ValueError", "7 is not a letter")
    assert outcome.traceback is not None
    assert outcome.traceback.startswith("Traceback (most recent call last)")
    assert outcome.traceback.endswith("ValueError: 7 is not a letter\n")
    assert not outcome.final
    assert outcome.delay is None


class OfOurOwn(Exception):
    pass


def test_an_exception_from_elsewhere_is_named_with_its_module() -> None:
    assert failed(OfOurOwn()).error == f"{__name__}.OfOurOwn"
    assert failed(pickle.PicklingError("x")).error == "_pickle.PicklingError"


@pytest.mark.parametrize("bomb", [ValueError("in str"), KeyboardInterrupt(), SystemExit(3), RecursionError()], ids=repr)
def test_an_exception_whose_str_raises_is_still_a_failed_attempt(bomb: BaseException) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise bomb

    outcome = failed(Unspeakable())
    assert outcome.error.endswith("Unspeakable")
    assert outcome.message == "(its message could not be read: str() of the exception raised)"
    assert outcome.traceback is not None
    assert "in raised" in outcome.traceback


def test_an_exception_whose_str_is_no_string_is_still_a_failed_attempt() -> None:
    class Wrong(Exception):
        def __str__(self) -> str:
            return 7  # type: ignore[return-value]

    assert failed(Wrong()).message == "(its message could not be read: str() of the exception raised)"


def test_nul_and_surrogates_in_a_message_become_escapes() -> None:
    outcome = failed(ValueError("a\0b\ud800c"))
    assert outcome.message == "a\\x00b\\ud800c"
    assert outcome.traceback is not None
    assert "a\\x00b\\ud800c" in outcome.traceback


def test_an_endless_message_is_cut() -> None:
    outcome = failed(ValueError("x" * 10_000_000))
    assert len(outcome.message) < 11_000
    assert outcome.traceback is not None
    assert len(outcome.traceback) < 51_000
    assert outcome.traceback.startswith("Traceback")


def test_a_long_chain_of_causes_keeps_its_end_where_the_error_is() -> None:
    error: BaseException = ValueError("the first")
    for number in range(3_000):
        error, cause = ValueError(f"number {number}"), error
        error.__cause__ = cause
    outcome = failed(error)
    assert outcome.message == "number 2999"
    assert outcome.traceback is not None
    assert outcome.traceback.rstrip().endswith("ValueError: number 2999")
    assert len(outcome.traceback) < 51_000


def test_endless_recursion_is_a_failed_attempt() -> None:
    def again() -> None:
        again()

    with pytest.raises(RecursionError) as caught:
        again()
    outcome = from_exception(caught.value)
    assert isinstance(outcome, Failed)
    assert outcome.error == "RecursionError"


def test_a_group_of_exceptions_tells_of_each() -> None:
    outcome = failed(ExceptionGroup("two letters", [ValueError("one \0"), OfOurOwn("two")]))
    assert (outcome.error, outcome.message) == ("ExceptionGroup", "two letters (2 sub-exceptions)")
    assert outcome.traceback is not None
    assert "ValueError: one \\x00" in outcome.traceback
    assert "OfOurOwn: two" in outcome.traceback


def test_a_group_nested_without_end_is_a_failed_attempt() -> None:
    group: BaseExceptionGroup[BaseException] = BaseExceptionGroup("0", [KeyboardInterrupt()])
    for level in range(500):
        group = BaseExceptionGroup(str(level), [group])
    assert failed(group).error == "BaseExceptionGroup"


class Hostile(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__module__", "__qualname__"):
            raise ValueError(name)
        return super().__getattribute__(name)


class WithoutName(Exception, metaclass=Hostile):
    pass


@pytest.mark.parametrize(
    "module", [None, 7, "a\0b", "\ud800", "m" * 10_000, "builtins"], ids=lambda value: str(value)[:5]
)
def test_an_exception_with_a_strange_module_is_still_a_failed_attempt(module: Any) -> None:
    strange = type("Strange", (Exception,), {"__module__": module})
    outcome = failed(strange("x"))
    assert "Strange" in outcome.error
    assert outcome.message == "x"
    assert len(outcome.error) < 600


def test_an_exception_without_a_name_is_still_a_failed_attempt() -> None:
    outcome = failed(WithoutName("x"))
    assert (outcome.error, outcome.message) == ("(an exception whose name could not be read)", "x")


class Forgetful(Snooze):
    def __init__(self) -> None:
        pass


class Mute:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "error",
    [Forgetful(), Cancel(Mute()), Fail(Mute()), Retry(reason=Mute())],  # type: ignore[arg-type]
    ids=lambda error: type(error).__name__,
)
def test_an_outcome_that_lacks_what_it_needs_is_a_failed_attempt(error: BaseException) -> None:
    assert not failed(error).final


def test_durations_are_seconds_or_timedeltas() -> None:
    assert as_timedelta(1.5) == timedelta(seconds=1.5)
    assert as_timedelta(timedelta(days=1)) == timedelta(days=1)


@pytest.mark.parametrize("kind", [Retry, Snooze])
@pytest.mark.parametrize("delay", [float("inf"), float("nan"), 1e300, 1e12, -1e12, "x", timedelta.max], ids=repr)
def test_a_delay_that_makes_no_sense_is_refused_in_a_sentence(kind: type[Retry | Snooze], delay: Any) -> None:
    told = (
        rf"^The delay of {kind.__name__} must (be seconds or a timedelta, not|not be longer than a century, and) .+\.$"
    )
    with pytest.raises(ConfigurationError, match=told):
        kind(delay)
    later = kind(1)
    later.delay = delay
    assert not failed(later).final


# Groups, as a TaskGroup raises them


def group(*errors: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("unhandled errors in a TaskGroup", errors)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (group(Cancel("enough")), Cancelled("enough")),
        (group(group(Snooze(5))), Snoozed(timedelta(seconds=5))),
        (group(Retry(1, "a"), Snooze(5)), Failed("Retry", "a", delay=timedelta(seconds=1))),
        (group(Snooze(5), Retry(1, "a"), Cancel("b")), Cancelled("b")),
        (group(Cancel("b"), Fail("c")), Failed("Fail", "c", final=True)),
    ],
    ids=str,
)
def test_a_group_of_outcomes_is_the_strongest_of_them(error: BaseException, outcome: Outcome) -> None:
    assert from_exception(raised(error)) == outcome


def test_a_group_with_an_error_in_it_is_a_failed_attempt() -> None:
    outcome = failed(group(Cancel("enough"), ValueError("broken")))
    assert outcome.error == "BaseExceptionGroup"
    assert "ValueError: broken" in (outcome.traceback or "")
