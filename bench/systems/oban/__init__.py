"""Oban for Python, the open source edition."""

from bench.systems import System

SYSTEM = System(
    name="oban",
    kind="postgresql",
    language="python",
    requirements=("oban==0.7.0", "psycopg[binary]==3.3.9", "uvloop==0.23.0"),
    python="3.12",  # it wants that at least
    keeps=(True,),
    executors=("async", "thread"),
    settings=(
        "A queue limit of 200 (`queues`, in its guide on defining queues), a pool of 10 connections, uvloop, all else by default; in "
        "threads by `asyncio.to_thread`; bulk by `enqueue_many` of 1,000. It runs on Python 3.12, which it requires."
    ),
    promises=(
        "Jobs are claimed up to the free places of the queue; their ends are written one statement a job, all of a round in one "
        "transaction, so a crash can repeat a round, after the lifeline's time (5 minutes). Finished jobs are always kept and "
        "pruned after a day. Oban Pro, a licensed edition with bulk inserts and bulk acknowledgement, is not measured."
    ),
    takes=frozenset({"delay", "priority", "queues", "stamps", "ms", "bulk", "clients"}),
    left="select exists (select from oban_jobs where state in ('available', 'scheduled', 'executing', 'retryable'))",
)
