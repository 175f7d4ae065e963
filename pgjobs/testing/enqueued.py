"""What was enqueued: lists and assertions, which see what the caller's transaction sees."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pgjobs.app import App
from pgjobs.errors import InvalidPayload
from pgjobs.job import Job
from pgjobs.payload import decode, encode_result
from pgjobs.task import Task

MOST = 1_000  # jobs that are looked at, the newest of all
SHOWN = 5  # near misses in a message


def enqueued(app: App, task: Task[..., Any] | str | None = None, /, *, tx: Any = None, **arguments: Any) -> list[Job]:
    """Return the jobs that were enqueued, oldest first, whatever has become of them since.

    Arguments: the app; the task, or its name, by default all; tx, the transaction to look from, where they are not
    committed yet; arguments that the jobs must have, among others. An argument of a task that is itself named tx, or
    count: look at the payloads of what is returned. Raises InvalidPayload for an argument that the task does not have.
    """
    wanted = _wanted(app, task, arguments)
    with app.client(tx) as client:
        jobs = client.jobs(task=_name(task), limit=MOST)
    return [job for job in reversed(jobs) if not _differences(job, wanted)]


async def aenqueued(
    app: App, task: Task[..., Any] | str | None = None, /, *, tx: Any = None, **arguments: Any
) -> list[Job]:
    """The same as `enqueued`, for callers in an event loop."""
    wanted = _wanted(app, task, arguments)
    async with app.aclient(tx) as client:
        jobs = await client.jobs(task=_name(task), limit=MOST)
    return [job for job in reversed(jobs) if not _differences(job, wanted)]


def assert_enqueued(
    app: App, task: Task[..., Any] | str, /, *, tx: Any = None, count: int | None = None, **arguments: Any
) -> list[Job]:
    """Fail unless a job of this task was enqueued with these arguments, among others; return the jobs that were.

    Arguments as for `enqueued`; count, how many there must be, by default one or more.
    """
    return _assert(enqueued(app, tx=tx), app, task, count, arguments)


async def aassert_enqueued(
    app: App, task: Task[..., Any] | str, /, *, tx: Any = None, count: int | None = None, **arguments: Any
) -> list[Job]:
    """The same as `assert_enqueued`, for callers in an event loop."""
    return _assert(await aenqueued(app, tx=tx), app, task, count, arguments)


def refute_enqueued(app: App, task: Task[..., Any] | str, /, *, tx: Any = None, **arguments: Any) -> None:
    """Fail if a job of this task was enqueued with these arguments, among others. Arguments as for `enqueued`."""
    _assert(enqueued(app, tx=tx), app, task, 0, arguments)


async def arefute_enqueued(app: App, task: Task[..., Any] | str, /, *, tx: Any = None, **arguments: Any) -> None:
    """The same as `refute_enqueued`, for callers in an event loop."""
    _assert(await aenqueued(app, tx=tx), app, task, 0, arguments)


def _assert(
    jobs: Sequence[Job], app: App, task: Task[..., Any] | str, count: int | None, arguments: Mapping[str, Any]
) -> list[Job]:
    __tracebackhide__ = True
    wanted = _wanted(app, task, arguments)
    of_task = [job for job in jobs if job.task == _name(task)]
    found = [job for job in of_task if not _differences(job, wanted)]
    if len(found) == count or (count is None and found):
        return found
    which = f"of {_name(task)}{f' with {_listed(wanted)}' if wanted else ''}"
    if count is None:
        lines = [f"No job {which} was enqueued."]
    else:
        lines = [f"{_jobs(count)} {which} expected, {_jobs(len(found)).lower()} enqueued."]
    lines += [f"  {_described(job, wanted)}" for job in found[:SHOWN]]
    others = sorted((job for job in of_task if job not in found), key=lambda job: len(_differences(job, wanted)))
    if others:
        lines.append("Near misses:" if len(others) <= SHOWN else f"The nearest of {len(others)} others:")
        lines += [
            f"  {_described(job, wanted)}; differs in {', '.join(_differences(job, wanted))}" for job in others[:SHOWN]
        ]
    elif not of_task:
        tasks = Counter(job.task for job in jobs)
        there = ", ".join(f"{name} ({number})" for name, number in sorted(tasks.items()))
        lines.append(f"There are jobs of: {there}." if there else "There are no jobs at all.")
    raise AssertionError("\n".join(lines))


def _wanted(app: App, task: Task[..., Any] | str | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as a job would carry them. A misspelt one must not make an assertion that is always right."""
    known = app.tasks.get(task) if isinstance(task, str) else task
    if known is not None:
        parameters = inspect.signature(known.__wrapped__).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        if not takes_any and (unknown := arguments.keys() - parameters.keys()):
            raise InvalidPayload(f"{known.name} has no argument {min(unknown)!r}.")
    return {name: decode(encode_result(value, task="a test")) for name, value in arguments.items()}


def _name(task: Task[..., Any] | str | None) -> str | None:
    return task.name if isinstance(task, Task) else task


def _differences(job: Job, wanted: Mapping[str, Any]) -> list[str]:
    return [name for name, value in wanted.items() if name not in job.payload or job.payload[name] != value]


def _described(job: Job, wanted: Mapping[str, Any]) -> str:
    # What was asked for comes first; a payload comes back from the database in an order of its own.
    names = [name for name in wanted if name in job.payload] + sorted(job.payload.keys() - wanted.keys())
    arguments = {name: job.payload[name] for name in names}
    return f"job {job.id} on {job.queue}, {job.status}: {_listed(arguments) or 'no arguments'}"


def _listed(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_short(value)}" for name, value in arguments.items())


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _jobs(count: int) -> str:
    return f"{count or 'No'} job{'' if count == 1 else 's'}"
