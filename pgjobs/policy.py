"""What a task wants done when a run of it fails: try again or not, after how long, until when, and whom to tell.

    what the handler says itself (Retry, Snooze, Cancel, Fail)  goes before
    fail_on                                                     goes before
    retry_on                                                    goes before
    max_attempts, give_up_after                                 which the database counts

Exceptions are looked at where the handler ran: they do not travel between processes, outcomes do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pgjobs import checks
from pgjobs.backoff import Backoff, Computed, Exponential, Steps
from pgjobs.errors import ConfigurationError
from pgjobs.outcome import Failed, Outcome, failure, said
from pgjobs.payload import storable

ErrorFilter = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
RetryAfter = Backoff | Sequence[timedelta | float] | Callable[[int, BaseException], timedelta | float]


@dataclass(frozen=True, slots=True)
class Policy:
    """How a task takes its failures."""

    retry: Backoff = dataclasses.field(default_factory=Exponential)
    retry_on: ErrorFilter | None = None  # None: on every exception
    fail_on: ErrorFilter | None = None
    give_up_after: timedelta | None = None
    on_failure: str | None = None  # the task of the job to enqueue when one dies

    @classmethod
    def make(cls, task: str, *, retry: RetryAfter | None = None, retry_on: ErrorFilter | None = None,
             fail_on: ErrorFilter | None = None, give_up_after: timedelta | float | None = None,
             on_failure: Any = None) -> Policy:  # fmt: skip
        """Check the policy when the task is declared. Raises ConfigurationError.

        Arguments: task, the name to speak of; on_failure, another task or its name; the others as in `App.task`.
        """
        name = getattr(on_failure, "name", on_failure)
        if name is not None and not isinstance(name, str):
            raise ConfigurationError(f"on_failure of {task} must be a task or its name, not {on_failure!r}.")
        return cls(
            _backoff(task, retry), _filter(task, "retry_on", retry_on), _filter(task, "fail_on", fail_on),
            _give_up_after(task, give_up_after), name,
        )  # fmt: skip

    def outcome(self, error: BaseException, attempt: int) -> Outcome:
        """Return what this exception of attempt number `attempt` means. Never raises, whatever the exception is like."""
        outcome = said(error)
        return self.judge(failure(error), error, attempt) if outcome is None else self._timed(outcome, error, attempt)

    def judge(self, failed: Failed, error: BaseException, attempt: int) -> Failed:
        """Return the failed attempt with what this policy has to say about its exception."""
        try:
            if self.fail_on is not None and _matches(self.fail_on, error, any):
                return dataclasses.replace(failed, final=True)
            if self.retry_on is not None and not _matches(self.retry_on, error, all):
                return dataclasses.replace(failed, final=True)
        except BaseException as own:  # a predicate that raises decides nothing: it is tried again as usual
            failed = _noted(failed, "retry_on or fail_on", own)
        timed = self._timed(failed, error, attempt)
        assert isinstance(timed, Failed)
        return timed

    def _timed(self, outcome: Outcome, error: BaseException, attempt: int) -> Outcome:
        """Fill in the wait where it depends on the exception."""
        if type(outcome) is Failed and not outcome.final and outcome.delay is None and type(self.retry) is Computed:
            try:
                return dataclasses.replace(outcome, delay=self.retry.after(attempt, error))
            except BaseException as own:
                return _noted(outcome, "retry", own)
        return outcome


def _matches(wanted: ErrorFilter, error: BaseException, of_a_group: Callable[[list[bool]], bool]) -> bool:
    """Whether an exception is meant: itself, or as a group any or all of those in it."""
    found = isinstance(error, wanted) if isinstance(wanted, (type, tuple)) else bool(wanted(error))
    if not found and isinstance(error, BaseExceptionGroup):
        return of_a_group([_matches(wanted, each, of_a_group) for each in error.exceptions])
    return found


def _noted(failed: Failed, what: str, error: BaseException) -> Failed:
    return dataclasses.replace(
        failed, message=f"{failed.message} ({what} of its task raised {storable(type(error).__name__, 100)})"
    )


def _backoff(task: str, retry: Any) -> Backoff:
    if retry is None:
        return Exponential()
    if callable(getattr(retry, "delay", None)):
        return retry  # type: ignore[no-any-return]
    try:
        if callable(retry):
            return Computed(retry)
        if isinstance(retry, Sequence) and not isinstance(retry, (str, bytes)):
            return Steps(tuple(retry))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"retry of {task} is a list of waits that makes no sense: {error}.") from None
    raise ConfigurationError(
        f"retry of {task} must be a backoff like pgjobs.Exponential(), a list of waits or a function, not {retry!r}."
    )


def _filter(task: str, what: str, wanted: Any) -> ErrorFilter | None:
    if wanted is None:
        return None
    if isinstance(wanted, list):
        wanted = tuple(wanted)
    kinds = wanted if isinstance(wanted, tuple) else (wanted,)
    if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        return kinds
    if callable(wanted) and not isinstance(wanted, type):
        return wanted  # type: ignore[no-any-return]
    raise ConfigurationError(
        f"{what} of {task} must be exception classes or a function that is given the exception, not {wanted!r}."
    )


def _give_up_after(task: str, value: timedelta | float | None) -> timedelta | None:
    if value is None:
        return None
    duration = checks.duration(f"give_up_after of {task}", value, ConfigurationError)
    if duration <= timedelta(0):
        raise ConfigurationError(f"give_up_after of {task} must be longer than nothing, not {duration}.")
    return duration
