"""What a worker is told at its start, checked once."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from pgjobs import checks
from pgjobs.errors import ConfigurationError
from pgjobs.task import ExecutorName, Task

log = logging.getLogger("pgjobs.worker")

OnLeaseLost = Literal["stop", "continue"]

# Slots when nobody says: many for what waits, few for what blocks, one a core for what computes.
_CONCURRENCY: dict[ExecutorName, int] = {"async": 100, "thread": 10, "process": os.cpu_count() or 1}


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Options of a worker.

    queues: the names it claims from, by turns. concurrency: jobs at a time, one number for all or one for each executor,
    {"async": 100, "thread": 10, "process": 2}; by default 100, 10, and one a core, for the executors that the tasks use;
    executors not named have one slot. lease: how long the worker may be silent before its jobs are taken back.
    grace: how long running jobs may finish at a stop. poll: how often to look when nothing is announced. drain: end
    when nothing runnable is left. on_lease_lost: "stop" the jobs of a lost lease, or "continue" them, though they can
    settle nothing any more. name: how people know this worker.
    """

    queues: tuple[str, ...]
    concurrency: int | Mapping[ExecutorName, int]
    lease: timedelta = timedelta(seconds=60)
    grace: timedelta = timedelta(seconds=30)
    poll: timedelta = timedelta(seconds=1)
    drain: bool = False
    on_lease_lost: OnLeaseLost = "stop"
    name: str | None = None

    @classmethod
    def make(
        cls,
        tasks: Mapping[str, Task[Any, Any]],
        queues: Sequence[str] | None = None,
        *,
        concurrency: int | Mapping[ExecutorName, int] | None = None,
        lease: timedelta | float = timedelta(seconds=60),
        grace: timedelta | float = timedelta(seconds=30),
        poll: timedelta | float = timedelta(seconds=1),
        drain: bool = False,
        on_lease_lost: OnLeaseLost = "stop",
        name: str | None = None,
    ) -> WorkerOptions:
        """Fill in what depends on the tasks, and check. Durations are seconds or timedeltas.

        Raises ConfigurationError.
        """
        if isinstance(queues, str):
            raise ConfigurationError(f'queues is a list of names: queues=["{queues}"].')
        if queues is None:
            queues = sorted({task.options_.queue for task in tasks.values()})
        if not queues:
            raise ConfigurationError("A worker needs at least one queue: name one, or give the app a task.")
        used = sorted({task.options_.queue for task in tasks.values()})
        for queue in set(queues).difference(used):
            # No error: a job may be enqueued anywhere by options(queue=...).
            log.warning(
                "no task of the app is on the queue %r (theirs: %s); is it misspelt?", queue, ", ".join(used) or "none"
            )
        queues = tuple(checks.name("queue", queue, ConfigurationError) for queue in dict.fromkeys(queues))
        if concurrency is None:
            executors = {t.options_.executor for t in tasks.values() if t.options_.queue in queues} or {"thread"}
            concurrency = {executor: _CONCURRENCY[executor] for executor in sorted(executors)}
            if len(executors) == 1:
                (concurrency,) = concurrency.values()
        _check_on_failure(tasks)
        counts = [concurrency] if isinstance(concurrency, int) else list(concurrency.values())
        if not counts or any(not isinstance(count, int) or not 1 <= count <= 10_000 for count in counts):
            raise ConfigurationError(f"concurrency must be from 1 to 10000, not {concurrency}.")
        if not isinstance(concurrency, int) and (unknown := concurrency.keys() - _CONCURRENCY.keys()):
            raise ConfigurationError(f"concurrency is for async, thread and process, not for {min(unknown)!r}.")
        lease, grace, poll = (
            checks.duration(what, value, ConfigurationError)
            for what, value in (("lease", lease), ("grace", grace), ("poll", poll))
        )
        options = cls(queues, concurrency, lease, grace, poll, drain, on_lease_lost, name)
        if options.lease < timedelta(seconds=1):
            raise ConfigurationError("A lease must be a second or longer: it has to outlast a few lost renewals.")
        if options.poll <= timedelta(0) or options.grace < timedelta(0):
            raise ConfigurationError("poll must be longer than nothing, and grace not negative.")
        return options


def on_failure(tasks: Mapping[str, Task[Any, Any]]) -> str | None:
    """Return which job is to be enqueued when a job of a task dies, by task, as JSON text; None if none is."""
    following = {
        name: {
            "task": next.name,
            "queue": next.options_.queue,
            "priority": int(next.options_.priority),
            "version": next.version,
        }
        for name, task in tasks.items()
        if (next := tasks.get(task.options_.policy.on_failure or "")) is not None
    }
    return json.dumps(following) if following else None


def _check_on_failure(tasks: Mapping[str, Task[Any, Any]]) -> None:
    for name, task in tasks.items():
        following = task.options_.policy.on_failure
        if following is None:
            continue
        if following not in tasks:
            raise ConfigurationError(f"on_failure of {name} names the task {following!r}, which the app does not have.")
        if not tasks[following].takes_only("failed"):
            raise ConfigurationError(
                f"on_failure of {name} names the task {following}, which must have one argument:"
                f" def {following}(failed: pgjobs.FailedJob)."
            )
