"""pg-boss, for Node: gives a handler a batch of jobs, and keeps finished ones."""

from bench.systems import System

SYSTEM = System(
    name="pg-boss",
    kind="postgresql",
    language="node",
    requirements=("pg-boss==12.38.0", "node==22.23.3"),
    keeps=(True,),
    executors=(),
    settings=(
        "Its options of work() (pgboss.io/api/workers): batches of 1,000 jobs to one call of the handler, 4 local "
        "workers, burstWhenBatchFull; LISTEN/NOTIFY is on (useListenNotify, notify on the queue; "
        "pgboss.io/api/constructor) since it would poll every half second at best; Node 22. Bulk: insert() with "
        "5,000 jobs a call. Where a number of jobs at once is asked for: batches of 2, so that a long job holds "
        "up one other at most."
    ),
    promises=(
        "At least once; a job is sent in the caller's transaction. A batch is completed or failed as a whole: if "
        "the handler throws or the process dies, all 1,000 run again, twice at most by default (a dead process's "
        "after 15 minutes). Finished jobs, with the batch's output, stay in the table for 7 days; it has no way "
        "to keep none."
    ),
    takes=frozenset({"delay", "priority", "queues", "stamps", "ms", "bulk", "clients"}),
    left="select exists (select from pgboss.job where name like 'bench%' and state < 'completed' and start_after <= now())",
)
