"""A held snapshot under what an application does: late commits, retries, a killed worker in each round.

A round has two halves. In the first, clients enqueue at a fixed rate, half of the jobs at once and half in transactions
that stay open for 0 to 2 s; one job in twenty fails at first; a worker is killed. That shows how long a job waits. The
second is enqueued at one blow, and shows how many jobs a second go through.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

import psycopg

import common
from bench import counters, ours
from bench.running import Failed
from bench.scenario import Bench, Case, Figures, Scenario, median
from bench.scenarios.held import nothing, snapshot
from bench.stage import Stage
from bench.systems import System

TEXT = "x" * 180
SLOW = 0.5  # share of the jobs that come in slow transactions
FAILING = 20  # one job in so many fails at first
CLIENTS = 16


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """With the snapshot, and without for comparison."""
    if system.name != "pgjobs":
        return []
    return [Case("snapshot held", {"held": True}), Case("nothing held", {"held": False})]


def run(bench: Bench, system: System, case: Case) -> Figures:
    """Round after round, one supervisor with two workers all the time."""
    known, rounds = bench.parameters, list[Figures]()
    half = known["jobs"] // known["rounds"] // 2
    with bench.stage(system) as stage, snapshot(stage) if case.options["held"] else nothing():
        starts = common.SharedStarts()
        try:
            arguments = ["--queue", common.QUEUE, "--processes", "2", "--concurrency", "500", "--grace", "5"]
            with ours.supervisor(stage, *arguments, starts=starts.path, keep="nothing") as program:
                ours.wait_until(lambda: bool(workers(stage)), "The start of the workers", 60)
                for number in range(known["rounds"]):
                    program.check()
                    rounds.append(one_round(stage, starts, number * 2 * half, half, known))
                program.signal(signal.SIGTERM)
                program.finish(60)
        finally:
            starts.close()
        left = ours.outcome(ours.database(stage))
    if left["live"] or left["dead"] or left["violations"]:
        raise Failed(f"At the end: {left}")
    some = max(1, len(rounds) // 3)  # a burst takes half a second, which is little to measure by
    parts = (rounds[:some], rounds[-some:])
    first, last = (median([each["jobs/s"] for each in part]) for part in parts)
    sooner, later = (median([each["server µs/job"] for each in part if each["server µs/job"]]) for part in parts)
    return {
        "first rounds jobs/s": round(first),
        "last rounds jobs/s": round(last),
        "last by first share": round(last / first, 3),
        "first rounds server µs/job": round(sooner, 1),
        "last rounds server µs/job": round(later, 1),
        "worst wait s": max(each["worst wait s"] for each in rounds),
        "first rounds pages/job": rounds[0]["pages/job"],
        "last rounds pages/job": rounds[-1]["pages/job"],
        "rounds jobs/s": [each["jobs/s"] for each in rounds],
        "rounds pages/job": [each["pages/job"] for each in rounds],
        "rounds worst wait s": [each["worst wait s"] for each in rounds],
        "kills": len(rounds),
        "jobs": known["rounds"] * 2 * half,
    }


def one_round(stage: Stage, starts: common.SharedStarts, first: int, half: int, known: dict[str, Any]) -> Figures:
    """Both halves; the jobs' numbers begin with `first`."""
    db = ours.database(stage)
    before = counters.read(db, None)
    killed: list[int] = []
    killing = threading.Timer(half / known["rate"] / 2, lambda: killed.append(kill_one(stage)))
    killing.start()
    try:
        committed = enqueue(stage, range(first, first + half), known["rate"], known["slowest"])
    except BaseException:
        killing.cancel()
        raise
    finally:
        killing.join()
    if not killed:
        raise Failed("No worker could be killed.")
    wait_empty(db)
    burst, seen = range(first + half, first + 2 * half), starts.seen().executed
    idle = stage.server_cpu()
    with stage.beside() as client:
        send(client, burst)
    # By the starts: a look at the table would walk all that the snapshot keeps, ever more of it, beside what is measured.
    ours.wait_until(lambda: starts.seen().executed >= seen + len(burst), "The round", 180)
    busy = stage.server_cpu()
    wait_empty(db)
    time.sleep(1.5)  # the workers' sessions hand in what they counted once a second
    after = counters.read(db, None)
    started: dict[int, float] = {}
    for n, at in starts.stamps():
        if n >= first:
            started.setdefault(n, at)
    if len(started) != 2 * half:
        raise Failed(f"{2 * half - len(started):,} jobs of a round have not been started.")
    times = [started[n] for n in burst]
    return {
        "jobs/s": round((len(times) - 1) / (max(times) - min(times))),
        "server µs/job": round((busy - idle) / half * 1e6, 1) if busy is not None and idle is not None else None,
        "pages/job": round((after.pages - before.pages) / (2 * half), 1),
        "worst wait s": round(max(started[n] - at for n, at in committed.items()), 3),
    }


def enqueue(stage: Stage, numbers: range, rate: float, slowest: float) -> dict[int, float]:
    """Enqueue at about this rate by several clients; return when each job's transaction had been committed.

    A slow transaction holds its client up: it brings as many jobs as its client would have brought meanwhile.
    """
    committed: dict[int, float] = {}
    troubles: list[BaseException] = []

    def client(mine: range, seed: int) -> None:
        rng, done = random.Random(seed), 0
        begin = time.monotonic()
        try:
            with stage.beside() as db:
                while done < len(mine):
                    slow = rng.random() < SLOW
                    pause = rng.uniform(0, slowest) if slow else 0.0
                    some = mine[done : done + max(1, round(rate / CLIENTS * (pause if slow else slowest / 2)))]
                    # Jobs that come at once come one by one, as they do.
                    for portion in [some] if slow else [some[i : i + 10] for i in range(0, len(some), 10)]:
                        with db.transaction():
                            send(db, portion)
                            time.sleep(pause)
                        committed.update(dict.fromkeys(portion, time.monotonic()))
                        done += len(portion)
                        time.sleep(max(0.0, begin + done * CLIENTS / rate - time.monotonic()))
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=client, args=(numbers[k::CLIENTS], numbers.start + k)) for k in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if troubles:
        raise Failed(f"A client failed: {troubles[0]}")
    return committed


def send(db: psycopg.Connection[Any], numbers: range) -> None:
    """Enqueue jobs with these numbers, in the transaction of this connection."""
    from bench.systems.pgjobs import tasks

    chosen = ((n, tasks.second_time if n % FAILING == 0 else tasks.noop) for n in numbers)
    tasks.app.enqueue_many((task.spec(n=n, text=TEXT) for n, task in chosen), tx=db)


def workers(stage: Stage) -> list[int]:
    """The processes of the workers."""
    rows = ours.database(stage).execute("select pid from pgjobs.workers where supervisor is not null")
    return [pid for (pid,) in rows]


def kill_one(stage: Stage) -> int:
    """Kill one of the workers, whichever, and return which."""
    with stage.beside() as db:
        rows = db.execute("select pid from pgjobs.workers where supervisor is not null").fetchall()
        pid = int(random.choice(rows)[0])
        os.kill(pid, signal.SIGKILL)
        return pid


def wait_empty(db: psycopg.Connection[Any]) -> None:
    """Wait until no job is unfinished."""
    ours.wait_until(lambda: not ours.count(db, "pgjobs.jobs"), "The round", 180, every=0.25)


SCENARIO = Scenario(
    "mixture",
    "500,000 jobs in rounds beside a held snapshot; transactions of 0 to 2 s, 5% of the jobs retried, a worker killed "
    "(SIGKILL) in each round.",
    cases,
    run,
    (
        "first rounds jobs/s", "last rounds jobs/s", "last by first share", "first rounds server µs/job",
        "last rounds server µs/job", "worst wait s", "first rounds pages/job", "last rounds pages/job",
    ),
    comparing=False,
    parameters={"jobs": 500_000, "rounds": 10, "rate": 4_000, "slowest": 2.0},
)  # fmt: skip
