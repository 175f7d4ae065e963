"""graphile-worker, for Node: deletes a job when it is done."""

from bench.systems import System

SYSTEM = System(
    name="graphile-worker",
    kind="postgresql",
    language="node",
    requirements=("graphile-worker==0.18.0", "node==22.23.3"),
    keeps=(False,),
    executors=(),
    settings=(
        "The preset of its page on performance (worker.graphile.org/docs/performance): 24 concurrent jobs, 25 "
        "connections, a local queue of 500, completions and failures batched with no delay, prepared statements "
        "(default); its line for each success is switched off, as in its own performance test; Node 22. Bulk: "
        "addJobs with 5,000 jobs a call. For latency the same preset: it measured no worse than the plain one "
        "there, and better from 200 jobs/s on. Queues are tasks (task identifiers), since a queue_name runs its "
        "jobs one after the other."
    ),
    promises=(
        "At least once; a job is added in the caller's transaction and wakes a worker by NOTIFY. Up to 500 jobs "
        "are locked in a process ahead of their start, and completions are written a moment after the handler "
        "returned: after a crash such jobs run again, four hours later unless they are unlocked by hand. No "
        "history and no results are kept: a finished job's row is deleted."
    ),
    takes=frozenset({"delay", "priority", "queues", "stamps", "ms", "bulk", "clients"}),
    left="select exists (select from graphile_worker._private_jobs where run_at <= now())",
    by_sql="select graphile_worker.add_job('bench', payload => %s::json)",
)
