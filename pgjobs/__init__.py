"""pgjobs: a job queue for Python applications that already have PostgreSQL."""

from pgjobs.app import App
from pgjobs.backoff import Exponential, Fixed, Linear, Steps
from pgjobs.context import JobContext, JobInterrupted
from pgjobs.errors import (
    ConfigurationError,
    ConnectionFailed,
    InvalidJob,
    InvalidPayload,
    InvalidResult,
    JobCancelled,
    JobDead,
    JobNotFound,
    JobTimeout,
    LeaseLost,
    MemoryExceeded,
    PgjobsError,
    ProcessDied,
    SchemaError,
    SchemaMissing,
    SchemaTooNew,
    SchemaTooOld,
    TransactionFailed,
    TransactionRequired,
    UnknownTask,
    WaitTimeout,
    WorkerStuck,
)
from pgjobs.hooks import Event
from pgjobs.job import AttemptError, FailedJob, Job, JobId, Priority, Progress, Spec, Status
from pgjobs.middleware import log_runs, with_arguments, with_metadata
from pgjobs.outcome import Cancel, Fail, Retry, Snooze
from pgjobs.task import Task
from pgjobs.version import __version__
from pgjobs.worker import Worker, WorkerOptions

__all__ = [
    "App",
    "AttemptError",
    "Cancel",
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
    "JobTimeout",
    "LeaseLost",
    "Linear",
    "MemoryExceeded",
    "PgjobsError",
    "Priority",
    "ProcessDied",
    "Progress",
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
    "TransactionFailed",
    "TransactionRequired",
    "UnknownTask",
    "WaitTimeout",
    "Worker",
    "WorkerOptions",
    "WorkerStuck",
    "__version__",
    "log_runs",
    "with_arguments",
    "with_metadata",
]
