"""pgjobs itself."""

from bench.systems import System

SYSTEM = System(
    name="pgjobs",
    kind="postgresql",
    language="python",
    requirements=(),  # this checkout, in the environment that the bench runs in
    keeps=(False, True),
    executors=("async", "thread", "process"),
    settings=(
        "`app.run_worker()` with a concurrency of 500 (async), 32 (thread) or one a core (process), uvloop where it is installed; "
        '`keep="nothing"` or "history"; one client enqueues by `task.enqueue()`, several by `task.aenqueue()` on a '
        "connection each; `enqueue_many` for bulk."
    ),
    promises=(
        "An enqueue is durable when its commit returns. A job runs at least once; its completion is written, fenced, after "
        "its handler has returned, in batches: a crash repeats what was not written yet. With history kept, a finished "
        "job, its payload and its result stay for a week."
    ),
    takes=frozenset({"bulk", "clients", "delay", "how", "ms", "priority", "queues", "stamps"}),
    left="select exists (select from pgjobs.jobs)",
    by_sql="select pgjobs.enqueue('noop', %s::jsonb, queue => 'bench')",
)
