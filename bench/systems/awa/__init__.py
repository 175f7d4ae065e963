"""awa: a queue in Rust with Python bindings, on append-only storage."""

from bench.systems import System

SYSTEM = System(
    name="awa",
    kind="postgresql",
    language="python",
    requirements=("awa-pg==0.6.9", "uvloop==0.23.0"),
    keeps=(True,),
    executors=("async",),
    settings=(
        "Queue storage (the engine it recommends since 0.6), `max_workers` 1,024 and `claim_batch_size` 512 (both in the "
        "documentation of `start`; 512 was 20 to 40% faster than its default here), 20 connections, uvloop; bulk by `enqueue_many_copy` "
        "of 10,000."
    ),
    promises=(
        "Jobs are claimed in batches and completed in batches that wait for a few milliseconds; each attempt has a heartbeat and a "
        "deadline. Jobs are never updated in place, so dead rows hardly grow under a held snapshot. Finished jobs are always kept "
        "(for a day), in partitions that are truncated. Order is kept within a queue and a priority, unless a queue is sharded."
    ),
    takes=frozenset({"delay", "priority", "queues", "stamps", "ms", "bulk", "clients"}),
    # Its view of all jobs takes minutes with 20,000 finished ones: too much beside what is measured.
    left=None,
)
