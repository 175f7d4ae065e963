"""The board: the newest of what each run says, in batches, about once a second."""

from __future__ import annotations

import threading

import pytest

import pgjobs
from pgjobs.job import Claimed, Lease, Progress
from pgjobs.outcome import Done
from pgjobs.worker.progress import EVERY, Board
from pgjobs.worker.settler import Entry, Outbox
from tests.unit.test_context import context

ONE, OTHER = Lease(1, 1, 1), Lease(2, 1, 1)


def test_only_the_newest_is_written_and_not_more_often_than_once_a_second() -> None:
    board = Board()
    assert not board
    board.say(ONE, Progress(1))
    board.say(ONE, Progress(2))
    assert board.take(100.0, ()) == {ONE: Progress(2)}
    board.say(ONE, Progress(3))
    assert board.take(100.0 + EVERY / 2, ()) == {}
    assert board
    assert board.take(board.due_at(), ()) == {ONE: Progress(3)}
    assert not board


def test_the_last_of_a_run_that_ends_is_written_at_once() -> None:
    board = Board()
    board.take(100.0, ())
    board.say(ONE, Progress(1))
    board.say(OTHER, Progress(2))
    assert board.take(100.1, [OTHER]) == {OTHER: Progress(2)}
    assert board.take(100.0 + EVERY, ()) == {ONE: Progress(1)}


def test_what_could_not_be_written_does_not_undo_what_was_said_since() -> None:
    board = Board()
    board.say(ONE, Progress(1))
    board.say(OTHER, Progress(1))
    taken = board.take(100.0, ())
    board.say(ONE, Progress(2))
    board.put_back(taken)
    assert board.take(200.0, ()) == {ONE: Progress(2), OTHER: Progress(1)}


def test_the_worker_is_told_once_until_it_has_taken() -> None:
    told = []
    board = Board()
    board.tell = lambda: told.append(True)
    for done in range(5):
        board.say(ONE, Progress(done))
    assert len(told) == 1
    board.take(100.0, ())
    board.say(ONE, Progress(9))
    assert len(told) == 2


def test_any_thread_may_speak() -> None:
    board = Board()

    def speak(id: int) -> None:
        for done in range(1000):
            board.say(Lease(id, 1, 1), Progress(done))

    threads = [threading.Thread(target=speak, args=(id,)) for id in range(8)]
    for thread in threads:
        thread.start()
    taken: dict[Lease, Progress] = {}
    at = 0.0
    while any(thread.is_alive() for thread in threads) or board:
        at += EVERY
        taken |= board.take(at, ())
    assert taken == {Lease(id, 1, 1): Progress(999) for id in range(8)}


def test_an_outcome_waits_until_the_last_progress_of_its_run_is_written() -> None:
    def entry(lease: Lease) -> Entry:
        job = Claimed("claimed", lease.id, lease.run, "q", 0, None, "t", "{}", 0, 0, 0, None, None, "", None)
        return Entry(lease, job, Done(), None)

    outbox = Outbox()
    outbox.put(entry(ONE))
    outbox.put(entry(OTHER))
    outbox.waiting.add(ONE)
    assert [each.lease for each in outbox.take()] == [OTHER]
    outbox.waiting.clear()
    assert [each.lease for each in outbox.take()] == [ONE]


def test_what_is_left_out_stays_as_it_was_said_last() -> None:
    said: list[Progress] = []
    run = context()
    run._report = said.append
    run.progress(1, 4)
    run.progress(2)
    run.progress(message="half \0")
    assert said == [Progress(1, 4), Progress(2, 4), Progress(2, 4, "half \\x00")]
    assert said[-1].fraction == 0.5


@pytest.mark.parametrize("nonsense", ["3", [1], float("inf"), 10**400, 1j])
def test_what_is_no_progress_is_refused(nonsense: object) -> None:
    with pytest.raises((TypeError, ValueError), match="progress is counted in"):
        context().progress(nonsense)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("progress", "fraction"),
    [
        (Progress(1, 4), 0.25),
        (Progress(5, 4), 1.0),
        (Progress(-1, 4), 0.0),
        (Progress(1), None),
        (Progress(1, 0), None),
    ],
)
def test_a_fraction_is_between_nothing_and_all(progress: pgjobs.Progress, fraction: float | None) -> None:
    assert progress.fraction == fraction
