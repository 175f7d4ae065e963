"""A task: a Python function that does one kind of job, and how its jobs are enqueued and run."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar, get_args

from pgjobs.backoff import Backoff, Exponential
from pgjobs.context import JobContext
from pgjobs.errors import ConfigurationError, InvalidJob, InvalidPayload
from pgjobs.job import JobId, Priority, Spec
from pgjobs.outcome import as_timedelta
from pgjobs.payload import encode_payload

P = ParamSpec("P")
R = TypeVar("R")

ExecutorName = Literal["async", "thread", "process"]
Keep = Literal["history", "nothing"]


class Enqueuer(Protocol):
    """Who can put a spec into the database: the app. `tx` is the caller's connection, or None for one of its own."""

    def enqueue_spec(self, spec: Spec, tx: Any) -> JobId: ...
    async def aenqueue_spec(self, spec: Spec, tx: Any) -> JobId: ...


@dataclasses.dataclass(frozen=True, slots=True)
class TaskOptions:
    """How the jobs of a task are run, where the job itself does not say otherwise."""

    queue: str = "default"
    priority: Priority = Priority.NORMAL
    max_attempts: int = 5
    timeout: timedelta | None = None
    executor: ExecutorName = "thread"
    retry: Backoff = dataclasses.field(default_factory=Exponential)
    keep: Keep = "history"


class Task(Generic[P, R]):
    """What `@app.task` makes of a function. Calling it calls the function; `enqueue` puts a job into its queue."""

    def __init__(self, function: Callable[P, R], name: str, options: TaskOptions, enqueuer: Enqueuer) -> None:
        self.function = function
        self.name = name
        self.options_ = options
        self._enqueuer = enqueuer
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", name)
        self.__qualname__ = getattr(function, "__qualname__", name)
        self.__module__ = getattr(function, "__module__", "")
        self.__wrapped__ = function
        self.is_coroutine = inspect.iscoroutinefunction(function)
        self._read_signature()
        _check_options(self)
        self._defaults = Spec(task=name, queue=options.queue, priority=options.priority)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name} on queue {self.options_.queue}>"

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobId:
        """Enqueue a job with these arguments and return its id.

        In the transaction of `app.using(...)` if there is one, else in one of its own.
        Raises InvalidPayload when the arguments do not fit the task or are not JSON.
        """
        return self._enqueuer.enqueue_spec(self.spec(*args, **kwargs), None)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobId:
        """The same as `enqueue`, for callers in an event loop."""
        return await self._enqueuer.aenqueue_spec(self.spec(*args, **kwargs), None)

    def spec(self, *args: P.args, **kwargs: P.kwargs) -> Spec:
        """Return the job without enqueuing it, for `app.enqueue_many`."""
        return dataclasses.replace(self._defaults, payload=self._payload(args, kwargs))

    def options(
        self,
        *,
        tx: Any = None,
        queue: str | None = None,
        priority: Priority | int | None = None,
        delay: timedelta | float | None = None,
        available_at: datetime | None = None,
        max_attempts: int | None = None,
        timeout: timedelta | float | None = None,
        metadata: Mapping[str, Any] | None = None,
        notify: bool = True,
    ) -> Bound[P, R]:
        """Return this task with other settings for the jobs enqueued through it.

        Arguments: tx, the connection whose transaction the job belongs to; delay and timeout in seconds or as
        timedeltas; available_at, an aware datetime; metadata, anything JSON about the job; notify=False for a
        transaction that will be prepared. Raises InvalidJob for settings that make no sense.
        """
        if delay is not None and available_at is not None:
            raise InvalidJob("A job has a delay or an available_at, not both.")
        if available_at is not None and available_at.tzinfo is None:
            raise InvalidJob(
                "available_at needs a time zone: a naive datetime means a different moment to every server."
            )
        if priority is not None and priority not in set(Priority):
            raise InvalidJob(f"The priority of a job must be one of -2, -1, 0, 1, 2, not {priority}.")
        if max_attempts is not None and not 1 <= max_attempts <= 32_767:
            raise InvalidJob(f"max_attempts must be from 1 to 32767, not {max_attempts}.")
        duration = None if timeout is None else as_timedelta(timeout)
        if duration is not None and duration <= timedelta(0):
            raise InvalidJob(f"A timeout must be longer than nothing, not {duration}.")
        if queue is not None and not 1 <= len(queue) <= 200:
            raise InvalidJob("The name of a queue must have 1 to 200 characters.")
        defaults = dataclasses.replace(
            self._defaults,
            queue=self._defaults.queue if queue is None else queue,
            priority=self._defaults.priority if priority is None else priority,
            delay=None if delay is None else as_timedelta(delay),
            available_at=available_at,
            max_attempts=max_attempts,
            timeout=duration,
            metadata=None if metadata is None else encode_payload(metadata, task=f"the metadata of {self.name}"),
            notify=notify,
        )
        return Bound(self, defaults, tx)

    def check(self, payload: Mapping[str, Any]) -> None:
        """Raise InvalidPayload when these arguments do not fit the function."""
        self._check_names(payload)

    def bind(self, payload: Mapping[str, Any], context: JobContext) -> dict[str, Any]:
        """Return the keyword arguments to call the function with."""
        if self._context_parameter is None:
            return dict(payload)
        return {**payload, self._context_parameter: context}

    def _payload(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if args:
            if len(args) > len(self._positions):
                raise InvalidPayload(
                    f"{self.name} takes {len(self._positions)} arguments, but {len(args)} were given by position."
                )
            for name, value in zip(self._positions, args, strict=False):
                if name in kwargs:
                    raise InvalidPayload(f"{self.name} got the argument {name!r} twice.")
                kwargs[name] = value
        self._check_names(kwargs)
        return encode_payload(kwargs, task=self.name)

    def _check_names(self, names: Mapping[str, Any]) -> None:
        if not self._takes_any and (unknown := names.keys() - self._known):
            raise InvalidPayload(f"{self.name} has no argument {', '.join(map(repr, sorted(unknown)))}.")
        if missing := self._required - names.keys():
            raise InvalidPayload(f"{self.name} needs the argument {', '.join(map(repr, sorted(missing)))}.")
        if self._context_parameter in names:
            raise InvalidPayload(f"The argument {self._context_parameter!r} of {self.name} is filled in by the worker.")

    def _read_signature(self) -> None:
        """Remember which names the function takes, so that neither enqueue nor run has to inspect it."""
        try:
            parameters = inspect.signature(self.function, eval_str=True).parameters.values()
        except NameError:  # an annotation that only a type checker can resolve
            parameters = inspect.signature(self.function).parameters.values()
        self._context_parameter: str | None = None
        self._takes_any = False
        known, required = [], set()
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise ConfigurationError(
                    f"The task {self.name} cannot take {parameter}: a job carries its arguments by name."
                )
            if _is_context(parameter.annotation):
                self._context_parameter = parameter.name
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._takes_any = True
            else:
                known.append(parameter)
                if parameter.default is parameter.empty:
                    required.add(parameter.name)
        self._known = frozenset(parameter.name for parameter in known)
        self._required = frozenset(required)
        self._positions = [p.name for p in known if p.kind is p.POSITIONAL_OR_KEYWORD]


class Bound(Generic[P, R]):
    """A task with other settings, from `Task.options`. It enqueues like the task itself."""

    def __init__(self, task: Task[P, R], defaults: Spec, tx: Any) -> None:
        self._task = task
        self._defaults = defaults
        self._tx = tx

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobId:
        """Enqueue a job with these arguments and settings and return its id."""
        return self._task._enqueuer.enqueue_spec(self.spec(*args, **kwargs), self._tx)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobId:
        """The same as `enqueue`, for callers in an event loop."""
        return await self._task._enqueuer.aenqueue_spec(self.spec(*args, **kwargs), self._tx)

    def spec(self, *args: P.args, **kwargs: P.kwargs) -> Spec:
        """Return the job without enqueuing it, for `app.enqueue_many`."""
        return dataclasses.replace(self._defaults, payload=self._task._payload(args, kwargs))


def _is_context(annotation: Any) -> bool:
    return (
        annotation is JobContext
        or JobContext in get_args(annotation)
        or (isinstance(annotation, str) and annotation.rpartition(".")[2] == "JobContext")
    )


def _check_options(task: Task[Any, Any]) -> None:
    """Raise ConfigurationError for options that cannot work, when the task is declared and not when it runs."""
    options, name = task.options_, task.name
    if not 1 <= len(name) <= 200 or not 1 <= len(options.queue) <= 200:
        raise ConfigurationError("The name of a task or queue must have 1 to 200 characters.")
    if options.executor not in get_args(ExecutorName):
        raise ConfigurationError(f"The executor of {name} must be async, thread or process, not {options.executor!r}.")
    if options.executor == "async" and not task.is_coroutine:
        raise ConfigurationError(f"The task {name} is not a coroutine function: the async executor cannot run it.")
    if options.executor == "thread" and task.is_coroutine:
        raise ConfigurationError(f"The task {name} is a coroutine function: run it by the async or process executor.")
    if options.executor == "process" and "<locals>" in task.__qualname__:
        raise ConfigurationError(
            f"The task {name} is defined inside a function, where a child process cannot find it: move it to a module."
        )
    if not 1 <= options.max_attempts <= 32_767:
        raise ConfigurationError(f"max_attempts of {name} must be from 1 to 32767, not {options.max_attempts}.")
    if options.timeout is not None and options.timeout <= timedelta(0):
        raise ConfigurationError(f"The timeout of {name} must be longer than nothing, not {options.timeout}.")
    if options.keep not in get_args(Keep):
        raise ConfigurationError(f"keep of {name} must be 'history' or 'nothing', not {options.keep!r}.")
