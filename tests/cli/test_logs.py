"""The two forms of the log: for people, and for machines."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from pgjobs.job import Claimed
from pgjobs.logs import JsonFormatter, TextFormatter

JOB = Claimed("claimed", 7, 2, "ocr", 0, None, "read", "{}", 0, 0, 0, None, None, "", None)


def record(message: str, *args: Any) -> logging.LogRecord:
    made = logging.getLogger("pgjobs.worker").makeRecord(
        "pgjobs.worker", logging.WARNING, "here.py", 1, message, args, None, extra=JOB.fields
    )
    made.asctime = "now"
    return made


@pytest.mark.parametrize("message", ["job 7 (read): attempt 1 failed", "attempt 1 failed"])
def test_a_line_names_its_job_once(message: str) -> None:
    assert TextFormatter(colour=False).format(record(message)).endswith("WARNING job 7 (read): attempt 1 failed")


def test_an_object_carries_the_job_as_fields() -> None:
    entry = json.loads(JsonFormatter().format(record("attempt %d failed", 1)))
    assert {name: entry[name] for name in ("job", "run", "queue", "task", "message", "level")} == {
        "job": 7, "run": 2, "queue": "ocr", "task": "read", "message": "attempt 1 failed", "level": "warning",
    }  # fmt: skip
