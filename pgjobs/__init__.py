"""pgjobs: a job queue for Python applications that already have PostgreSQL."""

# ruff: noqa: F405
from typing import TYPE_CHECKING, Any

from pgjobs.version import __version__

if TYPE_CHECKING:
    from pgjobs.public import *  # noqa: F403

__all__ = [
    "App",
    "AttemptError",
    "Cancel",
    "Cancellation",
    "ConfigurationError",
    "ConnectionFailed",
    "Event",
    "Exponential",
    "Fail",
    "FailedJob",
    "Fixed",
    "InvalidJob",
    "InvalidPayload",
    "InvalidResult",
    "Job",
    "JobCancelled",
    "JobContext",
    "JobDead",
    "JobId",
    "JobInterrupted",
    "JobNotFound",
    "JobNotWaiting",
    "JobTimeout",
    "LeaseLost",
    "Linear",
    "MemoryExceeded",
    "NotAllowed",
    "PgjobsError",
    "Priority",
    "ProcessDied",
    "Progress",
    "QueueStatus",
    "Retry",
    "SchemaError",
    "SchemaMissing",
    "SchemaTooNew",
    "SchemaTooOld",
    "Snooze",
    "Spec",
    "Status",
    "Steps",
    "Task",
    "TaskStatus",
    "TransactionFailed",
    "TransactionRequired",
    "UnknownTask",
    "WaitTimeout",
    "Worker",
    "WorkerFailed",
    "WorkerOptions",
    "WorkerStatus",
    "WorkerStuck",
    "__version__",
    "log_runs",
    "with_arguments",
    "with_metadata",
]


if not TYPE_CHECKING:  # which knows the names, and shall tell of others

    def __getattr__(name: str) -> Any:
        # What everything here needs takes as long to import as a command line or a supervisor, which need none of it, to
        # do all it has to.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from pgjobs import public

        globals().update({name: getattr(public, name) for name in public.__all__})
        return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
