"""The scenarios. Each takes the DSN of a migrated database and returns its figures."""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg

from bench import load

Figures = dict[str, Any]


def drain(dsn: str, jobs: int = 100_000, workers: int = 1, concurrency: int = 500, keep: bool = True) -> Figures:
    """How many no-op jobs of 200 bytes a second go through, and that each runs exactly once."""
    load.fresh(dsn)
    filled = load.fill(jobs, load.noop if keep else load.noop_forgotten)
    began = time.monotonic()
    with load.workers(workers, "--drain", "--concurrency", str(concurrency)) as processes:
        said = [json.loads(process.communicate(timeout=600)[0]) for process in processes]
    # Start-up of the interpreter is not part of it: the slowest worker's own time is.
    took = max(word["seconds"] for word in said)
    figures = {
        "jobs": jobs,
        "workers": workers,
        "jobs/s": round(jobs / took),
        "enqueued/s": round(filled),
        "worker cpu us/job": round(sum(word["cpu"] for word in said) / jobs * 1e6, 1),
        "executed": sum(word["executed"] for word in said),
        "wall with start-up s": round(time.monotonic() - began, 2),
        **outcome(dsn),
    }
    assert figures["executed"] == jobs, figures
    assert figures["live"] == figures["dead"] == figures["violations"] == 0, figures
    if keep:
        assert (figures["completed"], figures["most runs"]) == (jobs, 1), figures
    return figures


def kills(dsn: str, jobs: int = 100_000, kills: int = 6, lease: float = 2.0) -> Figures:
    """Two workers side by side, one killed now and then and replaced: every job completes, none is lost."""
    load.fresh(dsn)
    load.fill(jobs)
    arguments = ("--concurrency", "100", "--lease", str(lease))
    killed = 0
    with load.workers(2, *arguments) as processes, psycopg.connect(dsn, autocommit=True) as db:
        while (done := count(db, "pgjobs.job_history")) < jobs:
            if killed < kills and done >= jobs * (killed + 1) / (kills + 2):
                victim = processes[killed % 2]
                victim.send_signal(signal.SIGKILL)
                victim.wait()
                processes[killed % 2] = load.start(*arguments)
                killed += 1
            time.sleep(0.02)  # between two looks at the count
    figures = {"jobs": jobs, "kills": killed, **outcome(dsn)}
    assert killed == kills, figures
    assert (figures["completed"], figures["live"], figures["dead"], figures["violations"]) == (jobs, 0, 0, 0), figures
    return figures


def supervised(dsn: str, jobs: int = 100_000, processes: int = 4, kills: int = 8, lease: float = 3600.0) -> Figures:
    """One supervisor, its workers on two queues, one of them killed now and then: every job completes, none is lost.

    The lease is an hour: whatever is found is found because the supervisor saw it.
    """
    load.fresh(dsn)
    half = jobs // 2
    load.fill(half)
    load.fill(jobs - half, load.noop_elsewhere)
    queues = ("--queue", "bench", "--queue", "bench-2")
    began = time.monotonic()
    program = load.supervisor(
        *queues, "--processes", str(processes), "--concurrency", "100", "--lease", str(lease), "--grace", "5"
    )
    try:
        with psycopg.connect(dsn, autocommit=True) as db:
            killed = 0
            while (done := count(db, "pgjobs.job_history") + count(db, "pgjobs.dead_letters")) < jobs:
                if killed < kills and done >= jobs * (killed + 1) / (kills + 2):
                    pids = [pid for (pid,) in db.execute("select pid from pgjobs.workers where supervisor is not null")]
                    if pids:
                        os.kill(random.choice(pids), signal.SIGKILL)
                        killed += 1
                time.sleep(0.02)  # between two looks at the count
                assert time.monotonic() - began < 600, "it does not come to an end"
        took = time.monotonic() - began
        program.send_signal(signal.SIGTERM)
        said = program.communicate(timeout=60)[0].strip()
    finally:
        program.kill()
    figures = {
        "jobs": jobs,
        "processes": processes,
        "kills": killed,
        "jobs/s": round(jobs / took),
        "said": said,
        **outcome(dsn),
    }
    assert killed == kills, figures
    assert (figures["completed"], figures["live"], figures["dead"], figures["violations"]) == (jobs, 0, 0, 0), figures
    return figures


def deaths(dsn: str, runs: int = 10) -> Figures:
    """How long until a job runs again whose worker was killed, with its supervisor there, and without.

    From the kill to the claim, by the database's clock; another supervisor with one worker stands by.
    """
    figures: Figures = {}
    for victim, name in (("worker", "s worker killed"), ("supervisor", "s supervisor killed")):
        waits = []
        for _ in range(runs):
            load.fresh(dsn)
            arguments = ("--queue", "bench", "--concurrency", "1", "--lease", "3600", "--grace", "0")
            with psycopg.connect(dsn, autocommit=True) as db:
                doomed = load.supervisor(*arguments, "--processes", "2")
                wait_until(partial(are_kept, db, 2))
                load.sleep.options(tx=db).enqueue()
                wait_until(partial(is_running, db))
                other = load.supervisor(*arguments)
                wait_until(partial(are_kept, db, 3))
                pid = doomed.pid if victim == "supervisor" else runs_on(db)
                assert pid is not None
                [(killed_at,)] = db.execute("select extract(epoch from clock_timestamp())::float").fetchall()
                os.kill(pid, signal.SIGKILL)
                wait_until(partial(has_rows, db, "pgjobs.jobs where run = 2", 1))
                [(claimed_at,)] = db.execute("select extract(epoch from claimed_at)::float from pgjobs.jobs").fetchall()
                waits.append(claimed_at - killed_at)
                for program in (doomed, other):
                    program.send_signal(signal.SIGTERM)
                    program.communicate(timeout=60)
        figures[name] = {"median": round(statistics.median(waits), 3), "max": round(max(waits), 3)}
    return {"runs": runs, **figures}


def are_kept(db: psycopg.Connection[Any], workers: int) -> bool:
    """Whether so many workers are there, and renewed for."""
    return count(db, "pgjobs.workers where supervisor is not null") == workers


def is_running(db: psycopg.Connection[Any]) -> bool:
    """Whether the one job runs."""
    return runs_on(db) is not None


def runs_on(db: psycopg.Connection[Any]) -> int | None:
    """The process that runs the one job, or None."""
    rows = db.execute(
        "select w.pid from pgjobs.workers w join pgjobs.jobs j on j.worker = w.id where j.status = 'running'"
    ).fetchall()
    return rows[0][0] if rows else None


def latency(dsn: str, jobs: int = 500, rate: float = 20.0) -> Figures:
    """From the return of an enqueue's commit to the start of its handler, on an otherwise idle queue."""
    load.fresh(dsn)
    with load.workers(1, "--concurrency", "10"), psycopg.connect(dsn, autocommit=True) as db:
        wait_until(lambda: count(db, "pgjobs.workers") == 1)
        time.sleep(1)  # let it come to rest: idle is what is measured
        committed = {}
        for _ in range(jobs):
            id = load.stamp.options(tx=db).enqueue()
            committed[id] = time.monotonic()
            time.sleep(random.expovariate(rate))
        wait_until(lambda: count(db, "pgjobs.job_history") == jobs)
        rows = db.execute("select id, result::float from pgjobs.job_history")
        waits = sorted(1000 * (started - committed[id]) for id, started in rows)
    return {"jobs": jobs, "rate/s": rate, **percentiles(waits, "ms commit to start"), **outcome(dsn)}


def steady(
    dsn: str, share: float = 0.7, seconds: float = 15.0, clients: int = 4, batch: int = 20, concurrency: int = 500
) -> Figures:
    """From commit to start at a share of the rate at which one worker drains, which is measured first, in the same run."""
    load.fresh(dsn)
    drained = drain_alone(dsn, 50_000)
    rate = share * statistics.median(drained)
    jobs = round(rate * seconds / clients / batch) * clients * batch
    load.fresh(dsn)
    committed: dict[int, float] = {}

    def client() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            began = time.monotonic()
            for portion in range(jobs // clients // batch):
                time.sleep(max(0.0, began + portion * batch * clients / rate - time.monotonic()))
                ids = load.app.enqueue_many((load.stamp.spec() for _ in range(batch)), tx=connection)
                committed.update(dict.fromkeys(ids, time.monotonic()))

    with load.workers(1, "--concurrency", str(concurrency)), psycopg.connect(dsn, autocommit=True) as db:
        wait_until(lambda: count(db, "pgjobs.workers") == 1)
        began = time.monotonic()
        threads = [threading.Thread(target=client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        wait_until(partial(has_rows, db, "pgjobs.job_history", jobs))
        rows = db.execute("select id, result::float from pgjobs.job_history")
        waits = sorted(1000 * (started - committed[id]) for id, started in rows)
    figures = {
        "jobs": jobs,
        "drain/s": drained,
        "asked/s": round(rate),
        "enqueued/s": round(jobs / took),
        **percentiles(waits, "ms commit to start"),
        **outcome(dsn),
    }
    assert figures["violations"] == 0, figures
    return figures


def held(dsn: str, jobs: int = 200_000, rate: float = 4_000, slowest: float = 2.0) -> Figures:
    """A held snapshot, half of the enqueuing transactions up to 2 s long: how fast and how soon, at first and at last."""
    load.fresh(dsn)
    rounds = []
    with psycopg.connect(dsn) as holder:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select count(*) from pgjobs.jobs")
        began = drain_alone(dsn)
        with load.workers(1, "--concurrency", "500"), psycopg.connect(dsn, autocommit=True) as db:
            wait_until(lambda: count(db, "pgjobs.workers") == 1)
            done, before = 0, count(db, "pgjobs.job_history")
            while done < jobs:
                some = min(20_000, jobs - done)
                started = time.monotonic()
                enqueue_with_transactions(dsn, some, rate, slowest)
                done += some
                wait_until(partial(has_rows, db, "pgjobs.job_history", done + before))
                rounds.append(round(some / (time.monotonic() - started)))
            waits = late_waits(db)
        ended = drain_alone(dsn)
    figures = {
        "jobs": jobs,
        "drain/s before": began,
        "drain/s after": ended,
        "rounds jobs/s": rounds,
        **percentiles(waits, "s commit to claim"),
        **outcome(dsn),
    }
    assert figures["violations"] == 0, figures
    return figures


def drain_alone(dsn: str, jobs: int = 20_000, runs: int = 3) -> list[int]:
    """Fill and drain with one worker, a few times; jobs a second, from the first that was settled to the last.

    Each worker is a new one. Its looks from the head, over all that is dead by then, are before the first and after the
    last: to drain is to look from the head once at the beginning and once at the end.
    """
    rates = []
    with psycopg.connect(dsn, autocommit=True) as db:
        for _ in range(runs):
            load.fill(jobs)
            with load.workers(1, "--drain", "--concurrency", "500") as [process]:
                process.communicate(timeout=300)
            [(seconds,)] = db.execute(
                "select extract(epoch from max(finished_at) - min(finished_at))::float"
                " from (select finished_at from pgjobs.job_history order by id desc limit %s) h",
                (jobs,),
            ).fetchall()
            rates.append(round(jobs / seconds))
    return rates


def enqueue_with_transactions(dsn: str, jobs: int, rate: float, slowest: float, clients: int = 32) -> None:
    """Enqueue at about this rate: half at once, half in transactions of 0 to `slowest` s that enqueue first of all.

    A job's metadata is the time at which its transaction was about to commit.
    """
    per_client = jobs // clients
    text = load.TEXT

    def client(seed: float) -> None:
        rng = random.Random(seed)
        with psycopg.connect(dsn) as connection:
            left = per_client
            while left > 0:
                slow = rng.random() < 0.5
                pause = rng.uniform(0, slowest) if slow else 0.0
                # A slow transaction holds its client up: it brings more jobs, so that half of all jobs come late.
                some = min(left, max(1, round(rate / clients * slowest / 2)) if slow else 50)
                with connection.transaction():
                    ids = load.app.enqueue_many((load.noop.spec(text) for _ in range(some)), tx=connection)
                    time.sleep(pause)
                    connection.execute(
                        "insert into bench_commits select i, clock_timestamp() from unnest(%s::bigint[]) i",
                        (list(map(int, ids)),),
                    )
                left -= some
                if not slow:
                    time.sleep(some * clients / rate)

    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("create unlogged table if not exists bench_commits (id bigint, at timestamptz)")
    threads = [threading.Thread(target=client, args=(random.random(),)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def late_waits(db: psycopg.Connection[Any]) -> list[float]:
    """Seconds from commit to claim, of every job whose commit is known."""
    rows = db.execute(
        "select extract(epoch from h.claimed_at - c.at)::float from pgjobs.job_history h join bench_commits c using (id)"
    )
    return sorted(wait for (wait,) in rows)


def outcome(dsn: str) -> Figures:
    """What the tables say at the end."""
    with psycopg.connect(dsn, autocommit=True) as db:
        [(completed, runs, most)] = db.execute(
            "select count(*), coalesce(sum(run), 0), coalesce(max(run), 0) from pgjobs.job_history where status = 'completed'"
        ).fetchall()
        return {
            "completed": completed,
            "runs": runs,
            "most runs": most,
            "live": count(db, "pgjobs.jobs"),
            "dead": count(db, "pgjobs.dead_letters"),
            "violations": count(db, "pgjobs.violations"),
        }


def count(db: psycopg.Connection[Any], table: str) -> int:
    """Count the rows of a table."""
    [(rows,)] = db.execute(f"select count(*) from {table}").fetchall()
    return int(rows)


def has_rows(db: psycopg.Connection[Any], table: str, rows: int) -> bool:
    """Whether a table has so many rows."""
    return count(db, table) >= rows


def percentiles(values: list[float], what: str) -> Figures:
    """Median, 95th, 99th and worst of sorted values."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {
        what: {
            "p50": round(cuts[49], 3),
            "p95": round(cuts[94], 3),
            "p99": round(cuts[98], 3),
            "max": round(values[-1], 3),
        }
    }


def wait_until(true: Callable[[], bool], seconds: float = 300) -> None:
    """Look until it is so."""
    ends = time.monotonic() + seconds
    while not true():
        if time.monotonic() > ends:
            raise TimeoutError("it did not come to be in time")
        time.sleep(0.02)


SCENARIOS: dict[str, Callable[..., Figures]] = {
    "drain": drain,
    "kills": kills,
    "supervised": supervised,
    "deaths": deaths,
    "latency": latency,
    "steady": steady,
    "held": held,
}
