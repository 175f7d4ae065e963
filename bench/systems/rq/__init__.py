"""rq, on Redis: one job after the other, by default each in a process of its own."""

from bench.systems import System

SYSTEM = System(
    name="rq",
    kind="redis",
    language="python",
    requirements=("rq==3.0.0", "hiredis==3.5.0"),
    keeps=(False, True),
    executors=("simple", "fork"),
    settings=(
        "One worker a process, SimpleWorker, which runs jobs in its own process and is the fastest of its classes "
        '(python-rq.org/docs/workers/); as executor "fork" its default Worker, which forks for each job. '
        "result_ttl 0 where nothing is kept, else its default of 500 s; hiredis. Redis with appendonly yes and "
        "appendfsync always. Bulk: enqueue_many with 1,000 jobs a pipeline. A worker runs one job at a time, "
        "however many are asked for."
    ),
    promises=(
        "A job that runs when its worker is killed is moved to the failed ones after a while, and runs again only "
        "if it was given retries; SimpleWorker also gives up the isolation that a fork for each job brings. With "
        "this Redis a job that was enqueued is on the disk, but it cannot be enqueued in a transaction of the "
        "application's database."
    ),
    takes=frozenset({"queues", "stamps", "ms", "bulk", "clients"}),
)
