"""What is tidied up: the history, and the lines of resumed tasks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from pgjobs.calls.call import Call, read_int

SLOTS = 16  # of the history ring


def prune() -> Call[bool]:
    """Empty the next slot of the history ring; returns whether there was something in it."""
    return Call("select pgjobs.prune_v1()", (), lambda rows: bool(rows[0][0]))


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was pruned of a slot: how many jobs, whether it was emptied at once, the last id deleted otherwise."""

    jobs: int
    emptied: bool
    last: int | None


def prune_history(older_than: timedelta, slot: int, limit: int, after: int = 0) -> Call[Pruned]:
    """Delete what finished longer ago from one slot of the history, up to `limit` jobs unless it goes as a whole."""
    return Call(
        "select pruned, emptied, last from pgjobs.prune_history_v1(%s::interval, %s::integer, %s::integer, %s::bigint)",
        (older_than, slot, limit, after),
        lambda rows: Pruned(*rows[0]),
    )


def resume_tasks(limit: int) -> Call[int]:
    """Take jobs of resumed tasks out of their lines again; returns how many."""
    return Call("select pgjobs.resume_tasks_v1(%s::integer)", (limit,), read_int)
