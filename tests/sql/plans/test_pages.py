"""What a verb touches (I8): the same number of pages whatever else lies around, and although nothing dead is removed.

Pages are the buffers that `explain (analyze, buffers)` counts for one call, statements inside functions included. Every
measured call is about ten jobs. Everything happens under a snapshot that is held from before the first job, so no dead row
version is ever cleaned away. Each test lets one thing grow a hundred times as large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgjobs import calls
from pgjobs.calls import Call, Filter, Report
from pgjobs.worker.cursors import Cursors
from tests.conftest import Connection
from tests.sql.plans.verbs import BATCH, QUEUE, SECOND, Bench, completed, others

SLACK = BATCH + 3  # pages: one for each job, where its versions happen to lie, and a level of a small index or three


def pages(db: Connection, call: Call[Any]) -> int:
    """Run a call and return how many pages it touched."""
    row = db.execute(f"explain (analyze, buffers, format json) {call.sql}", call.params).fetchone()
    assert row
    plan = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def costs(bench: Bench) -> dict[str, int]:
    """Return what each verb touches: the better of two rounds, since the first fills the caches of the session."""
    first, second = bench.each(pages), bench.each(pages)
    return {verb: min(first[verb], second[verb]) for verb in first}


@pytest.fixture
def held(bench: Bench, connect: Callable[..., Connection]) -> Iterator[Bench]:
    """The bench under a held snapshot, amid so many rows that every index has two levels, and keeps them."""
    holder = connect(autocommit=False)
    holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    holder.execute("select from pgjobs.jobs")
    add_jobs(bench, 600, "'another'")
    jobs_that_others_run(bench, 600)
    jobs_in_the_history(bench, 9_600)
    dead_letters(bench, 600)
    yield bench
    # Still held, or all of it was measured with nothing to walk.
    row = bench.db.execute(
        "select count(*) from pg_stat_activity where datname = current_database() and backend_xmin is not null"
        " and state = 'idle in transaction'"
    ).fetchone()
    assert row == (1,)


# What may grow, by so many rows.


def jobs_that_were_completed(bench: Bench, count: int) -> None:
    for batch in batches(count):
        jobs = bench.enqueue_and_claim(batch)
        bench.settle(completed(jobs))


def jobs_that_failed_came_back_and_were_cancelled(bench: Bench, count: int) -> None:
    for batch in batches(count // 2):  # each is twice in the ready index
        jobs = bench.enqueue_and_claim(batch)
        bench.settle(others(jobs, "fail", error="E", message="m"))
        ids = [job.id for job in jobs]
        assert len(bench.run(calls.retry_failed(Filter(ids=ids), batch))) == batch
        assert len(bench.run(calls.cancel(ids, None)).cancelled) == batch


def batches(count: int) -> Iterator[int]:
    for done in range(0, count, 500):
        yield min(count - done, 500)


def jobs_that_were_parked_and_taken_back(bench: Bench, count: int) -> None:
    for batch in batches(count // 2):  # each is twice in the ready index
        bench.run(calls.pause(task="t"))
        bench.enqueue(batch)
        assert bench.claim(batch) == []
        bench.run(calls.resume(task="t"))
        bench.run(calls.resume_tasks(batch))
        bench.clock.advance(SECOND)
        bench.settle(completed(bench.claim(batch)))


def jobs_in_line(bench: Bench, count: int) -> None:
    bench.run(calls.pause(task="long"))
    bench.db.execute(
        "insert into pgjobs.jobs (queue, task, payload, wake, status, line)"
        " select %s, 'long', '{}', false, 'waiting', 'task/long' from generate_series(1, %s) n",
        (QUEUE, count),
    )


def add_jobs(bench: Bench, count: int, queue: str = f"'{QUEUE}'", rank: int = 0, after: str = "'0'") -> None:
    bench.db.execute(
        "insert into pgjobs.jobs (queue, task, payload, priority, rank, wake, available_at)"
        f" select {queue}, 't', '{{}}', %s, %s, false, pgjobs.now() + {after} from generate_series(1, %s) n",
        (rank, rank, count),
    )


def jobs_for_later(bench: Bench, count: int) -> None:
    add_jobs(bench, count, after="n * interval '1 minute' + interval '1 day'")


def jobs_for_later_that_were_cancelled(bench: Bench, count: int) -> None:
    jobs_for_later(bench, count)
    rows = bench.db.execute("select id from pgjobs.jobs where queue = %s", (QUEUE,)).fetchall()
    assert len(bench.run(calls.cancel([row[0] for row in rows], None)).cancelled) == count


def jobs_of_other_queues(bench: Bench, count: int) -> None:
    add_jobs(bench, count, "case when n %% 2 = 0 then 'a' else 'z' end || n %% 100")


def jobs_in_the_same_line(bench: Bench, count: int) -> None:
    add_jobs(bench, count)


def jobs_of_lower_priority(bench: Bench, count: int) -> None:
    add_jobs(bench, count, rank=2)


def jobs_that_others_run(bench: Bench, count: int) -> None:
    bench.db.execute(
        "insert into pgjobs.jobs (queue, task, payload, wake, status, run, worker, claimed_at)"
        " select %s, 't', '{}', false, 'running', 1, %s, pgjobs.now() + n * interval '1 us' from generate_series(1, %s) n",
        (QUEUE, bench.register(timedelta(days=9)), count),
    )


def jobs_in_the_history(bench: Bench, count: int) -> None:
    bench.db.execute(
        "insert into pgjobs.job_history (slot, id, enqueued_at, finished_at, run, attempts, crashes, priority, status,"
        " queue, task, payload) select n %% 16, nextval('pgjobs.jobs_id_seq'), pgjobs.now(), pgjobs.now(), 1, 0, 0, 0,"
        " 'completed', %s, 't', '{}' from generate_series(1, %s) n",
        (QUEUE, count),
    )


def dead_letters(bench: Bench, count: int) -> None:
    bench.db.execute(
        "with new as (insert into pgjobs.dead_letters (id, enqueued_at, failed_at, run, attempts, crashes, priority, queue,"
        " task, payload, reason, error) select nextval('pgjobs.jobs_id_seq'), pgjobs.now(), pgjobs.now(), 1, 1, 0, 0, %s,"
        " 't', '{}', 'failed', 'E: m' from generate_series(1, %s) n returning id)"
        " insert into pgjobs.attempts select id, 1, 1, 1, pgjobs.now(), pgjobs.now(), 'E', 'm', null from new",
        (QUEUE, count),
    )


def renewals(bench: Bench, count: int) -> None:
    for _ in range(count // 8):
        bench.run(calls.renew(bench.worker, 1, None, False))


def workers_that_left(bench: Bench, count: int) -> None:
    """So many row versions of workers, nine each."""
    for _ in range(count // 9):
        worker = bench.register(timedelta(days=1))
        for _ in range(8):
            bench.run(calls.renew(worker, 1, None, False))
        assert bench.run(calls.resign(worker)) == 0


GROWTHS: list[Callable[[Bench, int], None]] = [
    jobs_that_were_completed, jobs_that_failed_came_back_and_were_cancelled, jobs_for_later,
    jobs_for_later_that_were_cancelled, jobs_of_other_queues, jobs_in_the_same_line, jobs_of_lower_priority,
    jobs_that_others_run, jobs_in_the_history, dead_letters, renewals, jobs_that_were_parked_and_taken_back, jobs_in_line,
]  # fmt: skip


@pytest.mark.parametrize("grow", GROWTHS, ids=lambda grow: str(grow.__name__))
def test_what_a_verb_touches_does_not_grow_with(grow: Callable[[Bench, int], None], held: Bench) -> None:
    grow(held, 150)
    before = costs(held)
    grow(held, 14_850)
    after = costs(held)
    # At every row: whether it can be settled, and why not; at the jobs that are settled, and at those that are claimed; where
    # what is said of progress is written, which may be on another page.
    looks = {"settle_what_is_fenced": 2, "settle_and_claim": 2, "progress": 2}
    grown = {verb for verb in before if after[verb] > before[verb] + SLACK * looks.get(verb, 1)}
    assert {verb: (before[verb], after[verb]) for verb in grown} == {}


def test_what_a_rescue_touches_does_not_grow_with_what_its_worker_settled_before(held: Bench) -> None:
    def rescue_after(count: int) -> int:
        silent = Bench(held.db, held.clock)
        assert silent.run(calls.resign(silent.worker)) == 0
        silent.worker = silent.register(timedelta(minutes=2))
        jobs_that_were_completed(silent, count)
        silent.tidy()  # and renewed
        silent.enqueue_and_claim()
        held.clock.advance(timedelta(minutes=2))
        cost = pages(held.db, calls.rescue(BATCH))
        assert len(held.claim(2 * BATCH)) == BATCH
        return cost

    rescue_after(150)
    before = rescue_after(150)
    assert rescue_after(15_000) <= before + SLACK


def test_the_measure_sees_what_statements_inside_functions_touch(held: Bench) -> None:
    held.db.execute(
        "create function pg_temp.look() returns bigint language plpgsql"
        " as 'begin return (select count(*) from pgjobs.job_history); end'"
    )
    look = Call("select pg_temp.look()", (), list)
    pages(held.db, look)
    directly = pages(held.db, Call("select count(*) from pgjobs.job_history", (), list))
    assert directly > 100
    assert pages(held.db, look) == directly


# Measured, on PostgreSQL 18.6 and 15.18 alike, for ten jobs (one in enqueue, renew, look_up and what is over), in tables whose indexes
# have two levels. Pages of jobs are half full when jobs come (fillfactor), so that what is written of them next finds room
# there; dead entries lie on twice as many. Of the 104 of a claim 29 are for the look and the worker's lease: it looks at six ranks.
FIGURES = {
    "enqueue": 7, "enqueue_many": 61, "claim": 104, "claim_more_than_there_is": 120, "claim_nothing": 29,
    "claim_nothing_idly": 29, "complete": 101, "retry": 162, "fail": 142, "snooze": 132, "release": 132,
    "settle_what_is_fenced": 61, "settle_and_claim": 205, "leases": 5, "renew": 8, "rescue": 121, "rescue_nobody": 6,
    "resign": 144, "retry_failed": 171, "cancel": 121,
    "cancel_running": 142, "cancel_asked": 4, "progress": 70, "clear_failed": 113, "cancel_where": 135, "move": 95,
    "edit": 15, "claim_and_park": 124, "claim_where_jobs_are_parked": 120, "resume": 122, "resume_nothing": 2, "look_up": 40,
    "watch_what_lives": 30, "watch_what_is_over": 34,
}  # fmt: skip


def test_a_verb_touches_no_more_than_it_did(held: Bench) -> None:
    found = costs(held)
    assert found.keys() == FIGURES.keys()
    assert {verb: pages for verb, pages in found.items() if pages > 1.15 * FIGURES[verb] + 2} == {}


def test_what_a_supervisor_asks_costs_the_same_however_often_it_asked_before(held: Bench) -> None:
    """For ten workers. Measured: 114 pages to renew them, 149 to suspect them when it is gone, 39 to look for lost ones."""
    team = [held.register(timedelta(days=1)) for _ in range(BATCH)]
    reports = [Report(worker, 1, None, False) for worker in team]
    gone = held.run(Call("select nextval('pgjobs.supervisor_ids')::integer", (), lambda rows: int(rows[0][0])))

    def renew() -> int:
        return pages(held.db, calls.renew_many(gone, reports))

    def costs() -> dict[str, int]:
        renewed = renew()
        suspected = pages(held.db, calls.rescue(BATCH))
        assert len(held.run(calls.rescue(BATCH)).suspected) == BATCH
        held.run(calls.renew_many(None, reports))
        return {"renew": renewed, "suspect": suspected, "look": pages(held.db, calls.rescue(BATCH))}

    for _ in range(100):  # from here on the index has two levels
        renew()
    costs()
    before = costs()
    for _ in range(400):
        renew()
    after = costs()
    for worker in team:
        assert held.run(calls.resign(worker)) == 0
    assert {verb: (before[verb], after[verb]) for verb in before if after[verb] > before[verb] + SLACK} == {}
    assert before["renew"] <= 130
    assert before["suspect"] <= 170
    assert before["look"] <= 45


# The exceptions from I8, each with its measured slope in pages and what it may be at most.


def test_a_look_from_the_head_walks_the_dead(held: Bench) -> None:
    """Which is why a worker spends at most a hundredth of its time on it. Measured: a page for every 32 dead entries."""

    def look() -> int:
        return pages(held.db, calls.claim(held.worker, 10, Cursors([QUEUE]).scan(timedelta(0), None)))

    jobs_that_were_completed(held, 500)
    before = look()
    jobs_that_were_completed(held, 5_000)
    assert 5_000 / 64 < look() - before < 5_000 / 24


def test_the_leases_of_a_worker_are_looked_for_among_what_it_settled_since_the_oldest(held: Bench) -> None:
    """Its renewals move that time on. Measured: a page for every 30 dead entries."""
    list_leases = calls.leases(held.worker, 10)
    held.tidy()
    pages(held.db, list_leases)
    renewed = pages(held.db, list_leases)
    jobs_that_were_completed(held, 5_000)
    assert 5_000 / 60 < pages(held.db, list_leases) - renewed < 5_000 / 21
    held.tidy()
    assert pages(held.db, list_leases) <= renewed + 2


def test_a_rescue_walks_the_dead_versions_of_workers_that_left(held: Bench) -> None:
    """Measured: a page for every 43 versions."""
    rescue = calls.rescue(10)
    workers_that_left(held, 90)
    pages(held.db, rescue)
    before = pages(held.db, rescue)
    workers_that_left(held, 1_800)
    assert pages(held.db, rescue) - before < 1_800 / 30


def test_a_job_that_ran_often_is_found_behind_its_own_dead_versions(held: Bench) -> None:
    """Measured: a page for every two runs before, where other jobs lie between."""

    def complete_after(runs: int) -> int:
        held.enqueue(1)
        for _ in range(runs):
            held.settle(others(held.claim(1), "snooze", delay=0))
            add_jobs(held, 40, "'another'")
            held.clock.advance(SECOND)
        return pages(held.db, calls.settle(held.worker, completed(held.claim(1))))

    complete_after(0)
    assert complete_after(100) - complete_after(0) < 100


def test_what_a_worker_is_asked_to_cancel_is_looked_for_among_what_it_was_asked_before(held: Bench) -> None:
    """Measured: a page for every 24 requests."""
    ask = calls.cancel_asked(held.worker, 10)
    pages(held.db, ask)
    before = pages(held.db, ask)
    for _ in range(20):
        jobs = held.enqueue_and_claim(100)
        assert len(held.run(calls.cancel([job.id for job in jobs], None)).asked) == 100
        held.settle(others(jobs, "release"))
    assert pages(held.db, ask) - before < 2_000 / 17


def test_a_resume_walks_the_dead_entries_of_its_own_line(held: Bench) -> None:
    """Once, with its first portion, and once more with its last look. Measured: a page for every 12 jobs that were parked."""

    def resume() -> int:
        held.run(calls.pause(task="t"))
        held.enqueue(BATCH)
        assert held.claim(BATCH) == []
        cost = pages(held.db, calls.resume(task="t"))
        held.run(calls.resume_tasks(BATCH))
        held.clock.advance(SECOND)
        held.settle(completed(held.claim(BATCH)))
        return cost

    resume()
    before = resume()
    jobs_that_were_parked_and_taken_back(held, 4_000)
    assert resume() - before < 2_000 / 8
