"""procrastinate: jobs as rows, one transaction for each step of each job."""

from bench.systems import System

SYSTEM = System(
    name="procrastinate",
    kind="postgresql",
    language="python",
    requirements=("procrastinate==3.10.0", "psycopg[binary]==3.3.9", "uvloop==0.23.0"),
    keeps=(False, True),
    executors=("async", "thread"),
    settings=(
        'Worker options `concurrency=20` and `delete_jobs="always"` (kept: `"never"`, the default), as in its how-to guides '
        "on concurrency and on deleting finished jobs; a pool of 10 connections, psycopg's binary build, uvloop; bulk by "
        "`batch_defer_async` of 1,000."
    ),
    promises=(
        "A job is fetched and finished in transactions of its own, both synced to disk before anything goes on, so nothing "
        "waits in memory and a crash repeats only what was running (once the application retries stalled jobs, as its guide "
        "shows). Every change of status leaves an event, and locks keep jobs in order: work that the others do not do."
    ),
    takes=frozenset({"delay", "priority", "queues", "stamps", "ms", "bulk", "clients"}),
    left="select exists (select from procrastinate_jobs where status in ('todo', 'doing'))",
)
