"""pgqueuer: jobs as rows, claimed and logged in batches over asyncpg."""

from bench.systems import System

SYSTEM = System(
    name="pgqueuer",
    kind="postgresql",
    language="python",
    requirements=("pgqueuer[asyncpg]==1.6.0", "asyncpg==0.32.0", "uvloop==0.23.0"),
    keeps=(False,),
    executors=("async", "thread"),
    settings=(
        "`batch_size=1000` (its page on performance tuning), one asyncpg connection, uvloop, tables of the default durability "
        "(`durable`: all of them logged); in threads by `asyncio.to_thread`, as it advises; bulk by `enqueue` of lists of 1,000."
    ),
    promises=(
        "Jobs are claimed in batches, and their ends are written in batches no more than about 0.1 s later: a crash can repeat "
        "what had ended since, after the heartbeat timeout (30 s). Without `max_concurrent_tasks` a worker takes all that is "
        "ready. A finished job is deleted and leaves a row in a log (status, no payload, no result); it has no other way, so "
        "there is one figure."
    ),
    takes=frozenset({"delay", "priority", "queues", "stamps", "ms", "bulk", "clients"}),
    left="select exists (select from pgqueuer)",
)
