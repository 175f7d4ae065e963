"""How long to wait before the next attempt."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgjobs import Exponential, Fixed, Linear
from pgjobs.backoff import Backoff

YEAR = timedelta(days=365)


def seconds(backoff: Backoff, *attempts: int) -> list[float]:
    return [backoff.delay(attempt).total_seconds() for attempt in attempts]


def test_fixed_is_the_same_every_time() -> None:
    assert seconds(Fixed(30), 1, 2, 3, 10**6) == [30, 30, 30, 30]
    assert seconds(Fixed(timedelta(minutes=1)), 1) == [60]


def test_linear_is_one_step_more_every_time_up_to_its_cap() -> None:
    assert seconds(Linear(10, max=35), 1, 2, 3, 4, 5) == [10, 20, 30, 35, 35]
    assert seconds(Linear(timedelta(minutes=1), max=timedelta(hours=1)), 59, 60, 61) == [3540, 3600, 3600]


def test_exponential_multiplies_every_time_up_to_its_cap() -> None:
    assert seconds(Exponential(2, max=20, jitter=0), 1, 2, 3, 4, 5, 6) == [2, 4, 8, 16, 20, 20]
    assert seconds(Exponential(1.5, jitter=0), 1, 2) == [1.5, 2.25]


def test_the_default_is_two_to_the_attempt_up_to_an_hour() -> None:
    assert Exponential() == Exponential(2, max=3600, jitter=0.2)


@pytest.mark.parametrize(
    "backoff",
    [Fixed(1e300), Linear(1e300, max=1e300), Exponential(1e300, max=1e300), Exponential(10, max=timedelta.max)],
    ids=repr,
)
def test_attempt_number_one_million_overflows_nothing_and_waits_a_year_at_most(backoff: Backoff) -> None:
    assert backoff.delay(10**6) <= YEAR
    assert backoff.delay(10**6) >= YEAR * 0.8
    assert backoff.delay(10**400) >= YEAR * 0.8 if not isinstance(backoff, Linear) else True


@given(
    seconds=st.floats(0, 1e9),
    most=st.floats(0, 1e9),
    jitter=st.floats(0, 1),
    attempt=st.integers(1, 10**6),
)
def test_jitter_spreads_within_its_bounds_and_never_beyond_the_cap(
    seconds: float, most: float, jitter: float, attempt: int
) -> None:
    pairs: list[tuple[Backoff, Backoff]] = [
        (Fixed(seconds, jitter=jitter), Fixed(seconds)),
        (Linear(seconds, max=most, jitter=jitter), Linear(seconds, max=most)),
        (Exponential(seconds, max=most, jitter=jitter), Exponential(seconds, max=most, jitter=0)),
    ]
    for backoff, plain in pairs:
        middle, delay = plain.delay(attempt).total_seconds(), backoff.delay(attempt).total_seconds()
        assert middle * (1 - jitter) - 1e-6 <= delay <= middle * (1 + jitter) + 1e-6
        if not isinstance(backoff, Fixed):
            assert delay <= most + 1e-6


def test_at_the_cap_jobs_that_failed_together_still_do_not_come_back_together() -> None:
    delays = {Exponential(2, max=300, jitter=0.2).delay(50).total_seconds() for _ in range(100)}
    assert len(delays) > 90
    assert min(delays) >= 240
    assert max(delays) <= 300
    assert max(delays) - min(delays) > 20


@pytest.mark.parametrize("jitter", [-0.1, 1.1, float("nan")])
def test_jitter_is_a_share(jitter: float) -> None:
    for make in (lambda: Fixed(1, jitter), lambda: Linear(1, jitter=jitter), lambda: Exponential(jitter=jitter)):
        with pytest.raises(ValueError, match="jitter is a share from 0 to 1"):
            make()


@pytest.mark.parametrize("wait", [-1, float("nan"), timedelta(seconds=-1)])
def test_a_wait_is_not_negative(wait: float | timedelta) -> None:
    for make in (
        lambda: Fixed(wait),
        lambda: Linear(wait),
        lambda: Linear(1, max=wait),
        lambda: Exponential(2, max=wait),
    ):
        with pytest.raises(ValueError, match="a wait is zero or more seconds"):
            make()


def test_the_base_of_an_exponential_is_a_number() -> None:
    with pytest.raises(TypeError):
        Exponential(timedelta(seconds=2))  # type: ignore[arg-type]
