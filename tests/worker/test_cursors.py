from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pgjobs.calls import Scan, Step
from pgjobs.worker.cursors import RANKS, Cursors

OVERLAP = timedelta(seconds=0.2)


def step(
    scanned: int = 0, to: str | None = None, cursor: tuple[str, int, str, int] | None = None, paused: str = ""
) -> Step:
    return Step([], [], [], [paused] if paused else [], cursor, scanned, to, None)


def at(scan: Scan) -> dict[tuple[str, int], tuple[str, int]]:
    keys = zip(scan.queues, scan.ranks, strict=True)
    return dict(zip(keys, zip(scan.after_at, scan.after_id, strict=True), strict=True))


def test_a_new_session_begins_at_the_head() -> None:
    scan = Cursors(["a"]).scan(OVERLAP, None)
    assert list(scan.ranks) == [-3, -2, -1, 0, 1, 2]
    assert set(at(scan).values()) == {("-infinity", 0)}


def test_each_claim_begins_at_another_queue_and_goes_rank_by_rank() -> None:
    cursors = Cursors(["a", "b", "c"])
    firsts = [cursors.scan(OVERLAP, None).queues[0] for _ in range(6)]
    assert sorted(firsts) == ["a", "a", "b", "b", "c", "c"]
    scan = cursors.scan(OVERLAP, None)
    assert list(scan.ranks) == [rank for rank in RANKS for _ in range(3)]


def test_entries_scanned_to_their_end_move_on_and_the_last_one_to_its_cursor() -> None:
    cursors = Cursors(["a"])
    scan = cursors.scan(OVERLAP, None)
    cursors.advance(scan, step(3, "2026-01-01 00:00:00+00", ("a", 0, "2025-12-31 23:59:00+00", 7)))
    moved = at(cursors.scan(OVERLAP, None))
    assert [moved["a", rank] for rank in RANKS] == [
        *[("2026-01-01 00:00:00+00", 0)] * 3,
        ("2025-12-31 23:59:00+00", 7),
        *[("-infinity", 0)] * 2,
    ]


def test_a_look_from_the_head_uses_no_cursor_and_keeps_what_it_learns() -> None:
    cursors = Cursors(["a"])
    cursors.advance(cursors.scan(OVERLAP, None), step(6, "2026-01-01 00:00:00+00"))
    scan = cursors.scan(OVERLAP, None, head=True)
    assert set(at(scan).values()) == {("-infinity", 0)}
    cursors.advance(scan, step(6, "2026-01-01 00:00:01+00"))
    assert set(at(cursors.scan(OVERLAP, None)).values()) == {("2026-01-01 00:00:01+00", 0)}


def test_a_late_key_sets_back_only_cursors_of_its_queue_that_are_past_it() -> None:
    cursors = Cursors(["a", "b"])
    scan = cursors.scan(OVERLAP, None)
    cursors.advance(scan, step(12, "2026-01-01 00:00:10+00"))
    cursors.back_to("a", datetime(2026, 1, 1, 0, 0, 5, 123456, tzinfo=UTC))
    cursors.back_to("b", datetime(2026, 1, 1, 0, 0, 11, tzinfo=UTC))
    moved = at(cursors.scan(OVERLAP, None))
    assert {moved["a", rank] for rank in RANKS} == {("2026-01-01T00:00:05.123456+00:00", 0)}
    assert {moved["b", rank] for rank in RANKS} == {("2026-01-01 00:00:10+00", 0)}


def test_a_paused_queue_is_looked_at_from_the_head_when_it_runs_again() -> None:
    cursors = Cursors(["a", "b"])
    cursors.advance(cursors.scan(OVERLAP, None), step(12, "2026-01-01 00:00:10+00", paused="a"))
    moved = at(cursors.scan(OVERLAP, None))
    assert {moved["a", rank] for rank in RANKS} == {("-infinity", 0)}
    assert {moved["b", rank] for rank in RANKS} == {("2026-01-01 00:00:10+00", 0)}
