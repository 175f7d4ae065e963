"""The view violations reports every breach that rows can show. Breaches are forged in transactions that are rolled back."""

from __future__ import annotations

import psycopg
import pytest

from pgjobs.job import Spec
from tests.sql.by_hand import Connect, Worker, client, one
from tests.sql.one_database import one_database

database, dsn = one_database()

INTO_HISTORY = (
    "insert into pgjobs.job_history (slot, id, enqueued_at, finished_at, run, attempts, crashes, priority, status, queue, task,"
    " payload) select {slot}, {id}, now(), now(), 1, 0, 0, 0, 'completed', 'default', 'work', '{{}}'"
)
INTO_DEAD = (
    "insert into pgjobs.dead_letters (id, enqueued_at, failed_at, run, attempts, crashes, priority, queue, task, payload, reason,"
    " error) select {id}, now(), now(), 1, 0, 0, 0, 'default', 'work', '{{}}', 'failed', 'Error'"
)
ATTEMPT = (
    "insert into pgjobs.attempts (job_id, run, attempt, worker, started_at, failed_at, error, message)"
    " values ({id}, {run}, 1, 1, now(), now(), 'Error', '')"
)
WITHOUT_THE_CHECK = "alter table pgjobs.jobs drop constraint jobs_i2_running_iff_leased"

# Job 1 is ready, job 2 is running on worker 1; nothing else is there.
FORGED = {
    "a live job in the history": (
        [INTO_HISTORY.format(slot=3, id=1)],
        [("I1", 1, "is in jobs and in job_history")],
    ),
    "a live job among the dead": (
        [INTO_DEAD.format(id=1)],
        [("I1", 1, "is in jobs and in dead_letters")],
    ),
    "a dead job in the history": (
        [INTO_DEAD.format(id=9), INTO_HISTORY.format(slot=3, id=9)],
        [("I1", 9, "is in dead_letters and in job_history")],
    ),
    "a job twice in the history": (
        [INTO_HISTORY.format(slot=3, id=9), INTO_HISTORY.format(slot=4, id=9)],
        [("I1", 9, "is in job_history 2 times")],
    ),
    "an attempt of no job": (
        [ATTEMPT.format(id=9, run=1)],
        [("I1", 9, "has an attempt but is neither live nor dead")],
    ),
    "an attempt of a finished job": (
        [INTO_HISTORY.format(slot=3, id=9), ATTEMPT.format(id=9, run=1)],
        [("I1", 9, "has an attempt but is neither live nor dead")],
    ),
    "a job that runs without a lease": (
        [WITHOUT_THE_CHECK, "update pgjobs.jobs set worker = null, claimed_at = null where id = 2"],
        [("I2", 2, "is running but its lease columns say otherwise")],
    ),
    "a job that waits with a lease": (
        [WITHOUT_THE_CHECK, "update pgjobs.jobs set worker = 1, claimed_at = now() where id = 1"],
        [("I2", 1, "is ready but its lease columns say otherwise")],
    ),
    "a lease of a worker who is gone": (
        ["delete from pgjobs.workers"],
        [("I2", 2, "is leased to worker 1, which does not exist")],
    ),
    "a claim from before the time its worker told": (
        ["update pgjobs.workers set claims_since = now() + interval '1 hour'"],
        [("I2", 2, "was claimed before the time since which its worker says it holds claims")],
    ),
    "a worker with two rows": (
        [
            "insert into pgjobs.workers (id, gen, name, host, pid, version, queues, concurrency, lease, started_at, renewed_at,"
            " lapses_at, claims_since) select id, gen + 1, name, host, pid, version, queues, concurrency, lease, started_at,"
            " renewed_at, lapses_at, claims_since from pgjobs.workers",
        ],
        [("I2", None, "worker 1 has 2 rows")],
    ),
    "a run that fell": (
        [ATTEMPT.format(id=2, run=7)],
        [("I4", 2, "has an attempt of run 7 but is at run 1")],
    ),
    "attempts that were not recorded": (
        ["update pgjobs.jobs set attempts = 2 where id = 2", ATTEMPT.format(id=2, run=1)],
        [("I3", 2, "counts 2 attempts and has only 1 rows of them")],
    ),
}  # fmt: skip


def test_every_breach_is_reported_and_what_is_in_order_is_not(connect: Connect) -> None:
    db = connect(autocommit=False)
    worker = Worker(db)
    client(db).enqueue_many([Spec("work", priority=1), Spec("work")])
    (claimed,) = worker.claim(1)
    assert (worker.id, claimed.id) == (1, 2)
    db.commit()
    view = b"select invariant, job, breach from pgjobs.violations"
    for name, (forgery, reported) in FORGED.items():
        assert db.execute(view).fetchall() == []
        for statement in forgery:
            db.execute(statement.encode())
        assert (name, db.execute(view).fetchall()) == (name, reported)
        db.rollback()


# What is not in the view cannot be written at all.
REFUSED = {
    "update pgjobs.jobs set status = 'running'": "jobs_i2_running_iff_leased",
    "update pgjobs.jobs set worker = 1": "jobs_i2_running_iff_leased",
    "update pgjobs.jobs set claimed_at = now()": "jobs_i2_running_iff_leased",
    "update pgjobs.jobs set run = -1": "jobs_i4_run_counts_up",
    "update pgjobs.jobs set status = 'done'": "jobs_status_known",
    "update pgjobs.jobs set rank = 1": "jobs_rank_is_priority_or_first",
    "update pgjobs.jobs set rank = -4": "jobs_rank_is_priority_or_first",
    "update pgjobs.jobs set priority = 3, rank = 3": "jobs_priority_known",
    "update pgjobs.jobs set crashes = -1": "jobs_counters_not_negative",
    "update pgjobs.jobs set attempts = -1": "jobs_counters_not_negative",
    "update pgjobs.jobs set max_attempts = 0": "jobs_max_attempts_positive",
    "update pgjobs.jobs set queue = ''": "jobs_queue_named",
    "update pgjobs.jobs set task = ''": "jobs_task_named",
    "update pgjobs.jobs set payload = '[]'": "jobs_payload_is_object",
}


def test_rows_that_would_break_an_invariant_by_themselves_are_refused(connect: Connect) -> None:
    db = connect(autocommit=False)
    one(db, "select pgjobs.enqueue('work')")
    db.commit()
    for statement, constraint in REFUSED.items():
        with pytest.raises(psycopg.errors.CheckViolation) as refusal:
            db.execute(statement.encode())
        assert (statement, refusal.value.diag.constraint_name) == (statement, constraint)
        db.rollback()
