"""Where handlers run: in the event loop, in threads, in child processes. One interface, three sets of promises.

            on timeout              on a cut-short run        a crash of the handler
async       cancelled               cancelled                 takes the worker along
thread      asked (JobContext)      asked, then abandoned     takes the worker along
process     killed                  killed                    a failed attempt; the child is replaced
"""

from pgjobs.worker.executors.executor import Executor

__all__ = ["Executor"]
