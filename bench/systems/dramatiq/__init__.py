"""dramatiq, on Redis: a message is acknowledged when its actor is done, and is gone then."""

from bench.systems import System

SYSTEM = System(
    name="dramatiq",
    kind="redis",
    language="python",
    requirements=("dramatiq[redis]==2.2.1", "hiredis==3.5.0"),
    keeps=(False,),
    executors=(),
    settings=(
        "8 threads a process, the default of its command line, with its default middleware; 128 messages fetched "
        "ahead by a process (dramatiq_queue_prefetch; dramatiq.io/advanced.html), where its default of 16 "
        "measured slower; hiredis. Redis with appendonly yes and appendfsync always. Bulk: a group of 1,000 "
        "messages, each of which is a round trip of its own. Where a number of jobs at once is asked for: as many "
        "threads."
    ),
    promises=(
        "At least once: a message is acknowledged after its actor has returned, and a dead worker's messages are "
        "taken over about a minute later. With this Redis a message that was sent is on the disk, but it cannot "
        "be sent in a transaction of the application's database. No history and no results are kept. An idle "
        "worker polls, more and more seldom up to once a second."
    ),
    takes=frozenset({"delay", "queues", "stamps", "ms", "bulk", "clients"}),
)
