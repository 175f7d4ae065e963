from __future__ import annotations

from datetime import timedelta
from typing import Any

import pgjobs
from pgjobs import Fixed
from pgjobs.job import Claimed, Lease
from pgjobs.outcome import Cancelled, Done, Failed, Outcome, Release, Snoozed
from pgjobs.worker.settler import BATCH_LENGTH, Entry, Outbox, settlement

app = pgjobs.App("")


@app.task(max_attempts=4, retry=Fixed(7))
async def keep() -> None: ...


@app.task(keep="nothing")
async def forget() -> None: ...


def entry(
    id: int, outcome: Outcome, task: pgjobs.Task[Any, Any] | None = keep, worker: int = 1, **job: object
) -> Entry:
    claimed = Claimed("claimed", id, 1, "q", 0, None, "t", "{}", 0, 0, 0, None, None, "", None)._replace(**job)  # type: ignore[arg-type]
    return Entry(Lease(id, 1, worker), claimed, outcome, task)


def test_completed_jobs_travel_in_lists_without_results_when_there_are_none() -> None:
    sent = settlement([entry(1, Done()), entry(2, Done())])
    assert (sent.ids, sent.runs, sent.results, sent.keep, sent.others) == ([1, 2], [1, 1], None, None, [])


def test_results_and_what_is_kept_keep_the_order_of_the_ids() -> None:
    sent = settlement([entry(1, Done("5")), entry(2, Done(), forget), entry(3, Done('"x"'))])
    assert (sent.ids, sent.results, sent.keep) == ([1, 2, 3], ["5", "null", '"x"'], [True, False, True])


def test_other_outcomes_carry_what_the_database_needs_to_decide() -> None:
    failed = Failed("ValueError", "no", "trace")
    sent = settlement(
        [
            entry(1, failed),
            entry(2, Failed("Retry", "again", delay=timedelta(seconds=1.5)), max_attempts=9),
            entry(3, Failed("Fail", "never", final=True)),
            entry(4, Snoozed(timedelta(minutes=5))),
            entry(5, Cancelled("why")),
            entry(6, Release()),
        ]
    )
    said = {"error": "ValueError", "message": "no", "traceback": "trace"}
    assert sent.others == [
        {"id": 1, "run": 1, "outcome": "retry", **said, "max_attempts": 4, "delay": 7.0},
        {"id": 2, "run": 1, "outcome": "retry", "error": "Retry", "message": "again", "traceback": None,
         "max_attempts": 9, "delay": 1.5},
        {"id": 3, "run": 1, "outcome": "fail", "error": "Fail", "message": "never", "traceback": None},
        {"id": 4, "run": 1, "outcome": "snooze", "delay": 300.0},
        {"id": 5, "run": 1, "outcome": "cancel", "reason": "why"},
        {"id": 6, "run": 1, "outcome": "release"},
    ]  # fmt: skip


def test_a_batch_holds_the_outcomes_of_one_registration() -> None:
    outbox = Outbox()
    for id, worker in ((1, 1), (2, 1), (3, 2), (4, 2)):
        outbox.put(entry(id, Done(), worker=worker))
    assert [e.lease.id for e in outbox.take()] == [1, 2]
    assert [e.lease.id for e in outbox.take(limit=1)] == [3]


def test_what_was_not_settled_goes_first_next_time_in_its_order() -> None:
    outbox = Outbox()
    for id in range(5):
        outbox.put(entry(id, Done()))
    taken = outbox.take(limit=3)
    outbox.put_back(taken)
    assert [e.lease.id for e in outbox.take()] == [0, 1, 2, 3, 4]


def test_outcomes_whose_lease_is_over_are_dropped_by_name() -> None:
    outbox = Outbox()
    for id in range(4):
        outbox.put(entry(id, Done()))
    dropped = outbox.drop({Lease(1, 1, 1), Lease(2, 2, 1)})
    assert [e.lease.id for e in dropped] == [1]
    assert [e.lease.id for e in outbox.take()] == [0, 2, 3]


def test_a_batch_is_bounded_by_the_size_of_its_results() -> None:
    outbox = Outbox()
    for character in "xé":
        large = Done('"' + character * (BATCH_LENGTH // 2 // len(character.encode())) + '"')
        for id in range(3):
            outbox.put(entry(id, large))
        assert [len(outbox.take()) for _ in range(3)] == [1, 1, 1]
