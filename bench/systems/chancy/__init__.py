"""Chancy: jobs as rows, outcomes written once a second."""

from bench.systems import System

SYSTEM = System(
    name="chancy",
    kind="postgresql",
    language="python",
    requirements=("chancy==0.26.0", "psycopg[binary]==3.3.9", "uvloop==0.23.0"),
    keeps=(True,),
    executors=("async", "thread", "process"),
    settings=(
        "A queue with `eager_polling` and the async executor at a concurrency of 1,000 (threads: 100; processes: 4, "
        "`maximum_jobs_per_worker` 10,000), all in the reference of `Queue` and of the executors; the plugins Leadership, Pruner and "
        "Recovery, without Metrics and Workflow, which nothing here uses and which double the CPU of a job; a pool of 10 connections, "
        "uvloop; bulk by `push_many`."
    ),
    promises=(
        "Jobs are claimed up to the free places of the queue; outcomes are written in batches once a second (the default), and new "
        "jobs start before: a crash can repeat up to a second of finished jobs, so a drain counts only when nothing is left. "
        "Finished jobs are always kept and pruned after a day. A job is tried once unless it asks for more."
    ),
    takes=frozenset({"delay", "priority", "queues", "stamps", "ms", "bulk", "clients"}),
    left="select exists (select from chancy_jobs where state in ('pending', 'running', 'retrying'))",
)
