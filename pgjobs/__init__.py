"""pgjobs: a job queue for Python applications that already have PostgreSQL."""

from pgjobs.app import App
from pgjobs.backoff import Exponential, Fixed, Linear
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
    PgjobsError,
    ProcessDied,
    SchemaError,
    SchemaMissing,
    SchemaTooNew,
    SchemaTooOld,
    UnknownTask,
)
from pgjobs.job import AttemptError, Job, JobId, Priority, Spec, Status
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
    "Exponential",
    "Fail",
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
    "PgjobsError",
    "Priority",
    "ProcessDied",
    "Retry",
    "SchemaError",
    "SchemaMissing",
    "SchemaTooNew",
    "SchemaTooOld",
    "Snooze",
    "Spec",
    "Status",
    "Task",
    "UnknownTask",
    "Worker",
    "WorkerOptions",
    "__version__",
]
