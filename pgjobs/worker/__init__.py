"""The worker: claims jobs, runs them, settles their outcomes.

    listener --wakeups--> pace --when--> claimer --intake--> runs: slots, runner --outcomes--> outbox --> claimer
                          cancels: which runs to stop       ahead, strays: no slot yet     events: for hooks
    keeper (a thread): renews the lease, rescues, prunes; under a supervisor, that one does it for all its workers

`worker` wires the parts, starts them and drains them. Connections: one to claim and settle, one to listen, one for the keeper
or, for all of its workers, for their supervisor; no more, whatever the concurrency.
No connection is held and no transaction is open on behalf of a handler (I7).
"""

from pgjobs.worker.options import OnLeaseLost, WorkerOptions
from pgjobs.worker.until_stopped import run_until_stopped
from pgjobs.worker.worker import MakeKeeping, Worker

__all__ = ["MakeKeeping", "OnLeaseLost", "Worker", "WorkerOptions", "run_until_stopped"]
