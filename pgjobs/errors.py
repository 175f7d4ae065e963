"""Every error pgjobs raises, and the one place where an SQLSTATE becomes an exception."""

from __future__ import annotations


class PgjobsError(Exception):
    """The root of all errors of pgjobs; its text is a sentence for a person."""


class ConfigurationError(PgjobsError):
    """A setting, an option or a declaration of a task makes no sense."""


class ConnectionFailed(PgjobsError):
    """The database cannot be reached, or the DSN is wrong."""


class TransactionRequired(PgjobsError):
    """An app with `require_tx=True` was asked to enqueue outside a transaction."""


class TransactionFailed(PgjobsError):
    """The caller's transaction has failed already: nothing can be done in it but roll it back."""

    WHAT_TO_DO = "The transaction has failed already: roll it back, or back to a savepoint, before you go on with it."


class NotAllowed(PgjobsError):
    """The role lacks a right on the schema, or nothing can be written: the transaction is read-only, or the server is a standby."""


class SchemaError(PgjobsError):
    """The schema in the database does not fit this version of pgjobs."""


class SchemaMissing(SchemaError):
    """There is no pgjobs schema in this database yet."""


class SchemaTooOld(SchemaError):
    """The schema was made by an older pgjobs and must be migrated first."""


class SchemaTooNew(SchemaError):
    """The schema was made by a newer pgjobs, which no longer serves this one."""


class InvalidJob(PgjobsError):
    """A job was refused: its task, queue, priority, time or payload is not acceptable."""


class InvalidPayload(InvalidJob):
    """The arguments are not JSON that PostgreSQL can keep, or do not match the task."""


class InvalidResult(PgjobsError):
    """A handler returned something that is not JSON that PostgreSQL can keep."""


class UnknownTask(PgjobsError):
    """No task of this name is registered with the app."""


class JobNotFound(PgjobsError):
    """There is no such job, or no such dead letter."""


class JobNotWaiting(PgjobsError):
    """The job runs, is finished or dead, and can no longer be changed."""


class JobDead(PgjobsError):
    """The job that was waited for is a dead letter.

    `id` is the job's; `reason` is "exhausted", "failed" or "crashed", as in the dead letter; `error` its last error.
    """

    def __init__(self, id: int, reason: str, error: str) -> None:
        super().__init__(f"Job {id} is dead ({reason}): {error}")
        self.id, self.reason, self.error = id, reason, error


class JobCancelled(PgjobsError):
    """The job that was waited for was cancelled. `id` is the job's; `reason` says why, or is None."""

    def __init__(self, id: int, reason: str | None) -> None:
        super().__init__(f"Job {id} was cancelled{f': {reason}' if reason else '.'}")
        self.id, self.reason = id, reason


class WaitTimeout(PgjobsError, TimeoutError):
    """The job that was waited for had not finished in time. It goes on."""


class LeaseLost(PgjobsError):
    """The worker is no longer known to the database: its lease lapsed and its jobs were taken back."""


class JobTimeout(PgjobsError):
    """A handler ran longer than its timeout."""


class WorkerFailed(PgjobsError):
    """A worker could not begin, or could not go on."""


class ProcessDied(PgjobsError):
    """The child process that ran a handler ended before the handler did."""


class MemoryExceeded(PgjobsError):
    """The child process that ran a handler took more memory than its task may."""


class WorkerStuck(PgjobsError):
    """A worker ended because several of its threads would not stop: its process is to be replaced."""


_BY_SQLSTATE: dict[str, type[PgjobsError]] = {
    "PJ001": InvalidJob,
    "PJ002": JobNotFound,
    "PJ004": LeaseLost,
    "PJ006": JobNotWaiting,
    "25P02": TransactionFailed,  # raised by the server in a transaction that an earlier error has ended
    "25006": NotAllowed,
    "42501": NotAllowed,
    # Raised by the server itself when our schema, a table or a function is not there.
    "3F000": SchemaMissing,
    "42P01": SchemaMissing,
    "42883": SchemaTooOld,
}


def for_sqlstate(sqlstate: str | None, message: str, user: str | None = None) -> PgjobsError | None:
    """Return the exception that an SQLSTATE of ours stands for, or None if it is not one of ours.

    Arguments: the five characters of the SQLSTATE; the server's primary message, which becomes the text; user, as whom
    the connection was made, where that is known.
    """
    kind = _BY_SQLSTATE.get(sqlstate or "")
    if kind is None:
        return None
    if kind in (SchemaMissing, SchemaTooOld) and "pgjobs" not in message:
        return None  # somebody else's missing table
    if kind is TransactionFailed:
        message = TransactionFailed.WHAT_TO_DO
    elif kind is NotAllowed:
        what_to_do = (
            "Connect to a server that is no standby, as a role and in a transaction that may write"
            " (default_transaction_read_only)."
            if sqlstate == "25006"
            else "Have the right granted to it, or connect as a role that has it."
        )
        message = f"The database refused {f'the user {user}' if user else 'this connection'}: {message}. {what_to_do}"
    elif kind is SchemaMissing:
        message = "There is no pgjobs schema in this database, or not all of it: run `pgjobs migrate`."
    elif kind is SchemaTooOld:
        message = (
            "The pgjobs schema in this database lacks a function that this pgjobs calls: run `pgjobs migrate`, or install"
            " a newer pgjobs if the schema was made by one."
        )
    return kind(message)
