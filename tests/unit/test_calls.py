"""Each verb as a value: SQL, parameters, and how its rows are read."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgjobs import JobNotFound, Spec, calls
from pgjobs.calls import Call, Filter, Scan, Settlement
from pgjobs.job import Lease, Progress

SCAN = Scan(["default"], [0], ["-infinity"], [0], timedelta(seconds=0.2))

CALLS: list[Call[Any]] = [  # in an order in which each finds what it needs: worker 1, job 1
    calls.register("w", "h", 1, "0", ["a", "b"], 5, timedelta(seconds=60)),
    calls.enqueue(Spec("t")),
    calls.enqueue_many([Spec("t"), Spec("t", delay=timedelta(seconds=5), metadata='{"a":1}')]),
    calls.reserve([Spec("t"), Spec("t", delay=timedelta(seconds=5), metadata='{"a":1}')]),
    calls.job(1),
    calls.jobs(),
    calls.jobs("ready", "q", "t", 5),  # type: ignore[arg-type]
    calls.cancel([1, 2], "why"),
    calls.cancel_asked(1, 10),
    calls.progress([Lease(1, 1, 1)], [Progress(1, 2, "page 1")]),
    calls.failed(Filter(), 10),
    calls.failed(Filter([1], "q", "t", "e", timedelta(hours=1)), 10),
    calls.retry_failed(Filter(), 10),
    calls.retry_failed(Filter(None, "q", "t", "e", timedelta(hours=1)), 10, 5),
    calls.queue_overview(),
    calls.worker_overview(),
    calls.check_schema(),
    calls.leases(1, 10),
    calls.claim(1, 5, SCAN),
    calls.settle(1, Settlement()),
    calls.settle(1, Settlement([1], [1], ["null"], [True], [{"id": 2, "run": 1, "outcome": "snooze", "delay": 5}])),
    calls.settle_and_claim(1, Settlement([1], [1]), 5, SCAN),
    calls.release([Lease(1, 1, 1)]),
    calls.renew_many(7, [calls.Report(1, 0, None, False)]),
    calls.hold(),
    calls.resign(1),
    calls.rescue(10),
    calls.rescue(10, [1, 2]),
    calls.prune(),
    calls.session(),
]


def test_every_call_runs_and_its_rows_can_be_read(db: psycopg.Connection[Any]) -> None:
    for call in CALLS:
        assert call.sql.count("%s") == len(call.params), call.sql
        cursor = db.execute(call.sql, call.params)
        call.read(cursor.fetchall() if cursor.description else ())


def test_a_job_that_is_not_there_is_told_by_its_id() -> None:
    with pytest.raises(JobNotFound, match="There is no job with the id 7: it never was"):
        calls.job(7).read([])


def test_a_call_is_only_text_numbers_times_and_none() -> None:
    plain = (str, int, float, bool, timedelta, datetime, type(None))
    for call in CALLS:
        assert all(isinstance(param, plain) for param in call.params), call.sql


def test_a_call_does_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CALLS[0].sql = ""  # type: ignore[misc]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_texts_of_any_kind_travel_as_the_literal_of_an_array(db: psycopg.Connection[Any], values: list[str]) -> None:
    row = db.execute("select %s::text[]", (calls.texts([*values, "NULL", "{}", ",", "\\", '"']),)).fetchone()
    assert row == ([*values, "NULL", "{}", ",", "\\", '"'],)


def test_a_job_in_many_means_what_it_means_alone(db: psycopg.Connection[Any]) -> None:
    at = datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
    spec = Spec(
        "téléphone", '{"a":"\\\\u0000 \\" é"}', 'queue "q" \\', -2, None, at, 9, timedelta(minutes=5, microseconds=1),
        '{"m":[1]}', version=3,
    )  # fmt: skip
    one = calls.enqueue(spec)
    id = one.read(db.execute(one.sql, one.params).fetchall())
    many = calls.enqueue_many([spec])
    [twin] = many.read(db.execute(many.sql, many.params).fetchall())
    columns = "queue, task, payload, priority, available_at, max_attempts, timeout, metadata, version"
    first, second = (
        db.execute(f"select {columns} from pgjobs.jobs where id = %s", (which,)).fetchone() for which in (id, twin)
    )
    assert first == second
    assert first is not None
    assert first[4] == at
