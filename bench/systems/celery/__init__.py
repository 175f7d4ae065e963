"""Celery, on Redis: acknowledges a message before its task runs, unless told otherwise."""

from bench.systems import System

SYSTEM = System(
    name="celery",
    kind="redis",
    language="python",
    requirements=("celery[redis]==5.7.0", "hiredis==3.5.0"),
    keeps=(False, True),
    executors=("prefork", "threads"),
    settings=(
        "Its default pool, prefork, with 2 processes and worker_prefetch_multiplier 64, as its guide on "
        "optimizing advises for short tasks (docs.celeryq.dev/en/stable/userguide/optimizing.html); no gossip, "
        "mingle or heartbeats; hiredis; results in Redis only where finished jobs are kept. Redis with appendonly "
        "yes and appendfsync always. Bulk: a group of 1,000 tasks, which share a connection but no round trip. "
        "Where a number of jobs at once is asked for: its threads pool of that size."
    ),
    promises=(
        "At most once, by default: a task is acknowledged just before it runs, so that the one that runs when its "
        "worker is killed is lost (task_acks_late would run it again, after an hour by default on Redis). With "
        "this Redis a task that was sent is on the disk, but it cannot be sent in a transaction of the "
        "application's database."
    ),
    takes=frozenset({"delay", "priority", "queues", "stamps", "ms", "bulk", "clients"}),
)
