"""What a handler can know about its run."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgjobs import JobContext, JobInterrupted

STARTED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def context(**given: Any) -> JobContext:
    settings: dict[str, Any] = {
        "id": 7, "run": 3, "queue": "ocr", "task": "read_letter", "attempt": 2, "max_attempts": 3,
        "enqueued_at": STARTED - timedelta(minutes=1), "started_at": STARTED, "timeout": None,
    }  # fmt: skip
    return JobContext(**{**settings, **given})


def test_the_final_attempt_knows_that_it_is() -> None:
    assert not context(attempt=2, max_attempts=3).is_final_attempt
    assert context(attempt=3, max_attempts=3).is_final_attempt
    assert context(attempt=4, max_attempts=3).is_final_attempt


def test_without_a_timeout_there_is_no_deadline() -> None:
    run = context()
    assert run.deadline is None
    assert not run.expired
    run.check()


def test_with_a_timeout_there_is_a_deadline() -> None:
    run = context(timeout=timedelta(minutes=5))
    assert run.deadline == STARTED + timedelta(minutes=5)
    assert not run.expired
    run.check()


def test_a_run_beyond_its_timeout_is_asked_to_stop() -> None:
    run = context(timeout=timedelta(minutes=5), _started=time.monotonic() - 301)
    assert run.expired
    assert run.cancelled
    with pytest.raises(JobInterrupted, match="job 7 was asked to stop"):
        run.check()


def test_a_timeout_is_measured_on_a_clock_that_nobody_sets() -> None:
    run = context(timeout=timedelta(minutes=5), started_at=datetime(1999, 1, 1, tzinfo=UTC))
    assert not run.expired


def test_a_run_that_is_asked_to_stop_is_told_so() -> None:
    run = context()
    assert not run.cancelled
    run._ask_to_stop()
    assert run.cancelled
    assert not run.expired
    with pytest.raises(JobInterrupted):
        run.check()


def test_an_interruption_is_not_swallowed_by_a_handlers_own_except_exception() -> None:
    assert not issubclass(JobInterrupted, Exception)


def test_its_log_carries_the_job(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        context().log.info("read %d lines", 12)
    [record] = caplog.records
    assert record.name == "pgjobs.task.read_letter"
    assert record.getMessage() == "read 12 lines"
    assert [getattr(record, name) for name in ("job", "run", "queue", "task")] == [7, 3, "ocr", "read_letter"]


def test_a_context_shows_no_insides() -> None:
    assert "_asked" not in repr(context())
