"""What an app wraps around every run and every enqueue: generator functions that yield once, the same for all executors.

    @app.around_run                                @app.around_enqueue
    def timed(job):                                def traced(spec):
        began = time.monotonic()                       job_id = yield with_metadata(spec, trace=current())
        result = yield
        measure(job.task, time.monotonic() - began)

What is before the `yield` happens before, what is after it afterwards. An exception is raised at the `yield`, and may be
caught, replaced or let through. The first that was registered is the outermost.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self, cast

from pgjobs.context import JobContext, JobInterrupted
from pgjobs.errors import ConfigurationError
from pgjobs.job import JobId, Spec
from pgjobs.outcome import Failed
from pgjobs.payload import decode, encode_metadata, encode_payload

# Generators, really; but many annotate a generator function as an iterator.
AroundRun = Callable[[JobContext], Iterator[None]]
AroundEnqueue = Callable[[Spec], Iterator[Spec]]


class Around:
    """Middleware around one thing: a context manager, to which the thing's result is given as `result`.

    A middleware that swallows an exception leaves the result None. To stop a run is not an exception to be swallowed.
    """

    __slots__ = ("_entered", "_middleware", "_subject", "result")

    def __init__(self, middleware: Sequence[Callable[[Any], Iterator[Any]]], subject: Any) -> None:
        self._middleware = middleware
        self._subject = subject
        self._entered: list[Generator[Any, Any, None]] = []
        self.result: Any = None

    def __enter__(self) -> Self:
        for function in self._middleware:
            try:
                entered = cast(Generator[Any, Any, None], function(self._subject))
                self._yielded(next(entered, _NOTHING))
                self._entered.append(entered)
            except BaseException as error:
                if self.__exit__(type(error), error, error.__traceback__):
                    raise RuntimeError(f"A middleware swallowed what {_name(function)} raised before it.") from error
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        given = error
        while self._entered:
            middleware = self._entered.pop()
            try:
                if error is None:
                    middleware.send(self.result)
                else:
                    middleware.throw(error)
                middleware.close()
                raise RuntimeError(f"The middleware {_name(middleware)} yielded more than once.")
            except StopIteration:
                if not isinstance(error, (asyncio.CancelledError, JobInterrupted, GeneratorExit)):
                    error = None
            except BaseException as raised:
                error = raised
        if error is not None and error is not given:
            raise error
        return error is None

    def _yielded(self, value: Any) -> None:
        if value is _NOTHING:
            raise RuntimeError("A middleware ended without a yield: what it is around is never done.")


_NOTHING: Any = object()


class _AroundSpec(Around):
    """Middleware around the enqueue of one job; its result is the id."""

    __slots__ = ()

    @property
    def spec(self) -> Spec:
        """The job as they want it enqueued."""
        spec: Spec = self._subject
        return spec

    def _yielded(self, value: Any) -> None:
        super()._yielded(value)
        if not isinstance(value, Spec):
            raise ConfigurationError(
                f"A middleware around an enqueue must yield the Spec, changed or not, not {value!r}."
            )
        self._subject = value


class Enqueuing:
    """Middleware around the enqueue of some jobs: a context manager, to which their ids are given as `ids`."""

    def __init__(self, middleware: Sequence[AroundEnqueue], specs: Iterable[Spec]) -> None:
        self._stack = ExitStack()
        self._middleware = middleware
        self.specs = specs
        self.ids: list[JobId] | None = None

    def __enter__(self) -> Enqueuing:
        self._around: list[_AroundSpec] = []
        if self._middleware:
            with ExitStack() as stack:
                self._around = [stack.enter_context(_AroundSpec(self._middleware, spec)) for spec in self.specs]
                self._stack = stack.pop_all()
            self.specs = [around.spec for around in self._around]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        for around, id in zip(self._around, self.ids or (), strict=False):
            around.result = id
        return bool(self._stack.__exit__(kind, error, traceback))

    def done(self) -> list[JobId]:
        """Return the ids of what was enqueued."""
        if self.ids is None:
            raise RuntimeError("A middleware swallowed the error of an enqueue: there is no id to return.")
        return self.ids


def checked(function: Any, parameter: str) -> Any:
    """Return the function if it can be a middleware. Raises ConfigurationError."""
    if not inspect.isgeneratorfunction(function):
        raise ConfigurationError(
            f"A middleware is a generator function that yields once, and {function!r} is none: def around({parameter}): yield"
            f"{' ' + parameter if parameter == 'spec' else ''}."
        )
    return function


def with_metadata(spec: Spec, **metadata: Any) -> Spec:
    """Return the job with these entries added to its metadata. Raises InvalidPayload for what is not JSON."""
    before = {} if spec.metadata is None else decode(spec.metadata)
    return dataclasses.replace(spec, metadata=encode_metadata({**before, **metadata}, task=spec.task))


def with_arguments(spec: Spec, **arguments: Any) -> Spec:
    """Return the job with these arguments added to its own, or in place of them. Raises InvalidPayload."""
    return dataclasses.replace(spec, payload=encode_payload({**decode(spec.payload), **arguments}, task=spec.task))


def log_runs(job: JobContext) -> Generator[None, Any, None]:
    """A middleware that logs when a run starts and how it ends, with the job's id, run, queue and task as fields."""
    job.log.info("started, attempt %d of %d", job.attempt, job.max_attempts)
    began = time.perf_counter()
    try:
        result = yield
    except BaseException as error:
        job.log.info("ended by %s after %.1f ms", type(error).__name__, (time.perf_counter() - began) * 1000)
        raise
    # Around an executor, what comes back is the outcome.
    how = f"ended by {result.error}" if type(result) is Failed else "finished"
    job.log.info("%s after %.1f ms", how, (time.perf_counter() - began) * 1000)


def _name(middleware: Any) -> str:
    return str(getattr(middleware, "__name__", middleware))
