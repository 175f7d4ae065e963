"""pgjobs: a job queue for Python applications that already have PostgreSQL."""

from pgjobs.app import App
from pgjobs.backoff import Exponential, Fixed, Linear, Steps
from pgjobs.calls import Cancellation, QueueStatus, TaskStatus, WorkerStatus
from pgjobs.context import JobContext, JobInterrupted
from pgjobs.errors import (
    ConfigurationError,
    ConnectionFailed,
    InvalidJob,
    InvalidPayload,
    InvalidResult,
    JobNotFound,
    JobNotWaiting,
    JobTimeout,
    LeaseLost,
    MemoryExceeded,
    PgjobsError,
    ProcessDied,
    SchemaError,
    SchemaMissing,
    SchemaTooNew,
    SchemaTooOld,
    UnknownTask,
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
    "JobContext",
    "JobId",
    "JobInterrupted",
    "JobNotFound",
    "JobNotWaiting",
    "JobTimeout",
    "LeaseLost",
    "Linear",
    "MemoryExceeded",
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
    "UnknownTask",
    "Worker",
    "WorkerOptions",
    "WorkerStatus",
    "WorkerStuck",
    "__version__",
    "log_runs",
    "with_arguments",
    "with_metadata",
]
