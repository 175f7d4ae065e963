"""When a worker claims, and when it counts as waiting; over a clock that the test holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgjobs.calls import Step
from pgjobs.job import Claimed
from pgjobs.worker.pace import LATE_EVERY, RECHECKS, SOON, Pace

JOB = Claimed("claimed", 1, 1, "q", 0, None, "t", "{}", 0, 0, 0, None, None, "", None)
LIMIT = 100


class Worker:
    """Claims when the pace says so, and finds so many jobs."""

    def __init__(self, poll: float = 60) -> None:
        self.now = 1000.0
        self.pace = Pace(poll, self.now)
        self.claim(0)  # the first, from the head

    def claim(
        self, jobs: int, due_in: timedelta | None = None, took: float = 0.0, soon: bool = False,
        places: dict[str, int | None] | None = None,
    ) -> None:  # fmt: skip
        self.now = max(self.now, self.pace.claim_at)
        idle, head = self.pace.idle_change(), self.pace.sweep_due(self.now)
        self.pace.take_late(self.now)
        step = Step([JOB] * jobs, [], [], [], None, 0, "", due_in, places=places or {}, soon=soon)
        self.pace.claimed(step, LIMIT, idle, head, self.now, self.now + took)
        self.now += took

    @property
    def wait(self) -> float:
        return self.pace.claim_at - self.now


def test_an_empty_claim_is_repeated_under_the_idle_locks_before_the_worker_waits() -> None:
    worker = Worker()
    assert not worker.pace.idle
    assert worker.wait == 0
    assert worker.pace.idle_change() is True
    worker.claim(0)
    assert worker.pace.idle
    assert worker.pace.idle_change() is None


def test_after_taking_the_locks_it_looks_again_a_few_times_and_then_waits_for_its_poll() -> None:
    worker = Worker()
    worker.claim(0)
    taken = worker.now
    for recheck in RECHECKS:
        assert worker.pace.claim_at == pytest.approx(taken + recheck)
        worker.claim(0)
    assert 54 <= worker.wait <= 66


def test_a_full_claim_is_followed_at_once_and_the_idle_locks_are_let_go() -> None:
    worker = Worker()
    worker.claim(0)
    worker.claim(LIMIT)
    assert worker.wait == 0
    assert not worker.pace.idle  # by the claim itself
    assert worker.pace.idle_change() is None


def test_while_jobs_keep_coming_it_asks_soon_and_does_not_wait_to_be_told() -> None:
    worker = Worker()
    worker.claim(20)
    assert worker.pace.idle_change() is False
    worker.claim(20)
    assert worker.wait == pytest.approx(SOON)
    assert worker.pace.idle_change() is None


def test_what_is_under_way_is_looked_for_soon_and_then_more_and_more_seldom() -> None:
    worker = Worker()
    for _ in range(5):
        worker.claim(0)
    waits = []
    for _ in range(9):
        worker.claim(0, soon=True)
        waits.append(round(worker.wait / SOON))
    assert waits == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    worker.claim(1, soon=True)  # it came, and more is under way
    assert worker.wait == pytest.approx(64 * SOON)
    worker.claim(0, soon=True)
    assert worker.wait == pytest.approx(SOON)


def test_a_wake_up_that_names_a_place_is_for_the_worker_that_waits_there() -> None:
    worker = Worker()
    assert worker.pace.is_for_another("q", 0)  # it does not wait yet
    worker.claim(0, places={"q": 0, "full": None})
    assert not worker.pace.is_for_another("q", 0)
    assert worker.pace.is_for_another("q", 1)
    assert worker.pace.is_for_another("full", 1)
    assert not worker.pace.is_for_another("q", None)
    assert not worker.pace.is_for_another("full", None)


def test_a_wake_up_is_followed_at_once_and_one_for_later_at_its_time() -> None:
    worker = Worker()
    for _ in range(5):
        worker.claim(0)
    worker.pace.woken(worker.now, 1.5)
    assert worker.wait == pytest.approx(1.5)
    worker.pace.woken(worker.now, 0)
    assert worker.wait == 0


def test_it_wakes_when_the_next_job_falls_due() -> None:
    worker = Worker()
    for _ in range(5):
        worker.claim(0, due_in=timedelta(seconds=7))
    assert worker.wait == pytest.approx(7)


def test_late_keys_are_gone_back_to_together_and_not_more_often_than_every_tenth_of_a_second() -> None:
    worker = Worker()
    worker.claim(LIMIT)
    worker.claim(LIMIT)
    early, later = (datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC) for second in (1, 2))
    worker.pace.announced("q", later, worker.now)
    worker.pace.announced("q", early, worker.now)
    worker.pace.announced("other", later, worker.now)
    assert worker.pace.take_late(worker.now) == {}
    assert worker.pace.take_late(worker.now + LATE_EVERY) == {"q": early, "other": later}
    assert worker.pace.take_late(worker.now + 2 * LATE_EVERY) == {}


def test_an_idle_worker_goes_back_to_a_late_key_at_once() -> None:
    worker = Worker()
    for _ in range(5):
        worker.claim(0)
    since = datetime(2026, 1, 1, tzinfo=UTC)
    worker.pace.announced("q", since, worker.now)
    assert worker.wait == 0
    assert worker.pace.take_late(worker.now) == {"q": since}


def test_a_busy_worker_with_a_late_key_does_not_wait_longer_than_that_for_it() -> None:
    worker = Worker()
    worker.claim(20)
    worker.pace.announced("q", datetime(2026, 1, 1, tzinfo=UTC), worker.now)
    assert worker.wait <= LATE_EVERY


def test_looks_from_the_head_take_a_hundredth_of_the_time_and_half_a_second_lies_between_them() -> None:
    worker = Worker()
    assert not worker.pace.sweep_due(worker.now + 0.4)
    assert worker.pace.sweep_due(worker.now + 0.6)
    worker.now += 0.6
    worker.claim(LIMIT, took=0.2)
    assert not worker.pace.sweep_due(worker.now + 0.2 * 100 * 0.85)
    assert worker.pace.sweep_due(worker.now + 0.2 * 100 * 1.15)
