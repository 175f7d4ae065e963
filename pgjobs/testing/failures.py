"""What failed while jobs were run, as an error that fails a test."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pgjobs.outcome import Failed
from pgjobs.worker.settler import Entry


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt of a job."""

    id: int
    task: str
    attempt: int
    error: str
    message: str
    traceback: str | None


class JobsFailed(AssertionError):
    """Attempts failed where none was to; `failures` has them all, the text their errors and the first traceback."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        self.failures = tuple(failures)
        lines = [f"{len(failures)} attempt{'s' if len(failures) > 1 else ''} of jobs failed:"]
        lines += [f"  job {one.id}, {one.task}, attempt {one.attempt}: {one.error}: {one.message}" for one in failures]
        if trace := next((one.traceback for one in failures if one.traceback), None):
            lines += ["", trace.rstrip()]
        super().__init__("\n".join(lines))


def raise_failures(entries: Iterable[Entry]) -> None:
    """Raise JobsFailed if one of these outcomes is a failed attempt."""
    failures = [
        Failure(
            entry.job.id, entry.job.task, entry.job.attempts + 1,
            entry.outcome.error, entry.outcome.message, entry.outcome.traceback,
        )
        for entry in entries if isinstance(entry.outcome, Failed)
    ]  # fmt: skip
    if failures:
        raise JobsFailed(failures)
