"""The model is worth something: break the SQL in one place, and it says so.

Each mutant is the text of a function with one thing replaced, put into the test's database only.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.sql.by_hand import Connect, empty
from tests.sql.model import machine_on, profile
from tests.sql.one_database import one_database

database, dsn = one_database()

FUNCTIONS = Path(__file__).parents[2] / "sql" / "functions"


class Mutant(NamedTuple):
    """A function's file and what is replaced in it."""

    file: str
    old: str
    new: str


MUTANTS = {
    "a completed run need not be the current one": Mutant(
        "settle", "j.run = g.run and j.worker = p_worker", "j.worker = p_worker"
    ),
    "anybody may complete a run": Mutant("settle", "j.run = g.run and j.worker = p_worker", "j.run = g.run"),
    "a completed job leaves its attempts behind": Mutant(
        "settle", "delete from pgjobs.attempts a where a.job_id = any (v_failed)", "null"
    ),
    "a failed run need not be the current one": Mutant(
        "settle_others", "j.run = g.run and j.worker = p_worker", "j.worker = p_worker"
    ),
    "anybody may fail a run": Mutant("settle_others", "j.run = g.run and j.worker = p_worker", "j.run = g.run"),
    "a released job goes to the end of its line": Mutant(
        "settle_others", "rank = case when l.outcome = 'release' then -3 else j.priority end", "rank = j.priority"
    ),
    "a retried job comes back in the past": Mutant("settle_others", "greatest(g.delay, 0)", "g.delay - 1"),
    "giving up is counted from the last failed run": Mutant(
        "settle_others", "> coalesce(j.failing_since, j.claimed_at)", "> j.claimed_at"
    ),
    "a death sets off a chain": Mutant("on_failure", "and not coalesce(p_dead.metadata ? 'on_failure_of', false)", ""),
    "a crash is told to nobody": Mutant("rescue", "pgjobs.on_failure(b.letter, v_next)", "pgjobs.on_failure(b.letter, null)"),
    "what is fenced is not told": Mutant("unsettled", "where (g.id, g.run) not in", "where false and (g.id, g.run) not in"),
    "a claim does not raise the run": Mutant("claim", "run = j.run + 1", "run = j.run"),
    "a claim reads paused queues": Mutant("claim", "where c.queue <> all (v_paused)", ""),
    "a full claim does not look back": Mutant("claim", "least(v_at, v_now - p_overlap)", "v_at"),
    "a full claim says that all was scanned": Mutant("claim", "when v_full then v_ord - 1 ", ""),
    "the next scan begins at now": Mutant("claim", "at := (v_now - p_overlap)::text", "at := v_now::text"),
    "a lapsed worker may claim": Mutant("claim", "not w.lost and w.lapses_at > v_now", "not w.lost"),
    "a rescued job keeps its worker": Mutant(
        "rescue", "status = 'ready', worker = null, claimed_at = null", "status = 'ready'"
    ),
    "a crash is not counted": Mutant("rescue", "crashes = l.crashes, rank = -3", "rank = -3"),
    "a worker that is rescued in part may renew": Mutant("rescue", "lost = true", "lost = false"),
    "a rescue knows no limit": Mutant("rescue", "limit v_left\n", "limit 1000\n"),
    "a retried dead letter begins with run 0 again": Mutant("retry_failed", "c.enqueued_at, c.run,", "c.enqueued_at, 0,"),
    "a retried dead letter stays dead": Mutant("retry_failed", "where d.id = c.id", "where false and d.id = c.id"),
    "running jobs are cancelled": Mutant("cancel", "j.worker is not null as runs", "false as runs"),
    "a request does not outlast a failure": Mutant("settle_others", " or j.cancel_asked_at is not null then", " then"),
    "a rescue knows of no request": Mutant("rescue", "when j.cancel_asked_at is not null then 'cancelled'", ""),
    "any run may say its progress": Mutant("progress", "j.run = g.run and j.worker = p_worker", "j.worker = p_worker"),
    "late commits are announced too late": Mutant("waits", "interval '-0.15 s'", "interval '-0.3 s'"),
    "only the first job of a queue is announced": Mutant(
        "flag_wake",
        "(current_setting('pgjobs.flags')::jsonb ->> p_queue)::timestamptz <= p_available_at",
        "current_setting('pgjobs.flags')::jsonb ? p_queue",
    ),
    "jobs are enqueued in the past": Mutant("enqueue", "greatest(v_now, coalesce(p_available_at, v_now + p_delay))",
        "coalesce(p_available_at, v_now + p_delay, v_now)"),
    "jobs of a paused task are claimed": Mutant("claim", "and j.task = any (v_parks);", "and j.task = '';"),
    "jobs come out of line in the past": Mutant("take_back", "greatest(j.available_at, v_now)", "j.available_at"),
    "an edited job comes back in the past": Mutant("edit", "greatest(v_now, v_job.available_at)", "v_job.available_at"),
    "a moved job comes back in the past": Mutant("move", "greatest(j.available_at, v_now)", "j.available_at"),
    "running jobs are moved": Mutant("pick", "j.status <> 'running'", "true"),
    "the slot of today is pruned": Mutant("prune", "(pgjobs.history_slot(pgjobs.now()) + 1) & 15",
        "pgjobs.history_slot(pgjobs.now())"),
}  # fmt: skip


# These take more than two seconds to be noticed.
SLOW = {
    "a rescue knows of no request",
    "any run may say its progress",
    "a completed run need not be the current one",
    "a crash is told to nobody",
    "a death sets off a chain",
    "a full claim does not look back",
    "a rescue knows no limit",
    "a retried dead letter begins with run 0 again",
    "a retried dead letter stays dead",
    "a worker that is rescued in part may renew",
    "anybody may complete a run",
    "giving up is counted from the last failed run",
}


@pytest.mark.parametrize(
    "what", [pytest.param(what, marks=pytest.mark.long) if what in SLOW else what for what in MUTANTS]
)
def test_the_model_notices_when(connect: Connect, what: str) -> None:
    mutant = MUTANTS[what]
    text = (FUNCTIONS / f"{mutant.file}.sql").read_text()
    assert mutant.old in text, "the function has changed: choose another place to break"
    machine = machine_on(connect)
    machine.db.execute(text.replace(mutant.old, mutant.new).encode())
    try:
        with pytest.raises((AssertionError, psycopg.Error)):
            run_state_machine_as_test(machine, settings=profile(500, 50, shrink=False))
    finally:
        machine.db.execute(text.encode())
        machine.tx.rollback()
        empty(machine.db)
