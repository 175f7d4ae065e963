"""A task: a Python function that does one kind of job, and how its jobs are enqueued and run."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from types import UnionType
from typing import Annotated, Any, Generic, Literal, ParamSpec, Protocol, TypeVar, Union, get_args, get_origin

from pgjobs.context import JobContext
from pgjobs.errors import ConfigurationError, InvalidJob, InvalidPayload, PgjobsError
from pgjobs.job import JobId, Priority, Spec
from pgjobs.middleware import Around, AroundRun, Plain
from pgjobs.outcome import as_timedelta
from pgjobs.payload import encode_metadata, encode_payload
from pgjobs.policy import Policy

P = ParamSpec("P")
R = TypeVar("R")

ExecutorName = Literal["async", "thread", "process"]
Keep = Literal["history", "nothing"]

LONGEST = timedelta(days=36_525)  # a century; PostgreSQL and Python both can still add it to now


class Enqueuer(Protocol):
    """Who can put a spec into the database: the app. `tx` is the caller's connection, or None for one of its own."""

    def enqueue_spec(self, spec: Spec, tx: Any) -> JobId: ...
    async def aenqueue_spec(self, spec: Spec, tx: Any) -> JobId: ...


@dataclasses.dataclass(frozen=True, slots=True)
class TaskOptions:
    """How the jobs of a task are run, where the job itself does not say otherwise."""

    queue: str = "default"
    priority: int = Priority.NORMAL
    max_attempts: int = 5
    timeout: timedelta | None = None
    executor: ExecutorName = "thread"
    policy: Policy = dataclasses.field(default_factory=Policy)
    keep: Keep = "history"
    interrupt: bool = False
    max_rss: int | None = None  # bytes
    max_jobs: int | None = None

    @classmethod
    def make(cls, task: str, *, queue: str, priority: int, max_attempts: int, timeout: timedelta | float | None,
             executor: ExecutorName, policy: Policy, keep: Keep, interrupt: bool = False,
             max_rss: int | str | None = None, max_jobs: int | None = None) -> TaskOptions:  # fmt: skip
        """Check the options when the task is declared and not when it runs. Raises ConfigurationError."""
        _check_name("task", task, ConfigurationError)
        _check_name("queue", queue, ConfigurationError)
        if executor not in get_args(ExecutorName):
            raise ConfigurationError(f"The executor of {task} must be async, thread or process, not {executor!r}.")
        if keep not in get_args(Keep):
            raise ConfigurationError(f"keep of {task} must be 'history' or 'nothing', not {keep!r}.")
        priority = _priority(priority, ConfigurationError)
        max_attempts = _max_attempts(max_attempts, ConfigurationError)
        if interrupt and executor != "thread":
            raise ConfigurationError(f"interrupt of {task} is for threads: the {executor} executor stops it anyhow.")
        if executor != "process" and not (max_rss is None and max_jobs is None):
            raise ConfigurationError(
                f"max_rss and max_jobs of {task} need executor='process': they replace its process."
            )
        if max_jobs is not None and (not isinstance(max_jobs, int) or max_jobs < 1):
            raise ConfigurationError(f"max_jobs of {task} must be 1 or more, not {max_jobs!r}.")
        return cls(
            queue, priority, max_attempts, _timeout(timeout, ConfigurationError), executor, policy, keep,
            interrupt=interrupt, max_rss=None if max_rss is None else _bytes(max_rss, task), max_jobs=max_jobs,
        )  # fmt: skip


class Task(Generic[P, R]):
    """What `@app.task` makes of a function. Calling it calls the function; `enqueue` puts a job into its queue."""

    def __init__(self, function: Callable[P, R], name: str, options: TaskOptions, enqueuer: Enqueuer,
                 middleware: Sequence[AroundRun] = ()) -> None:  # fmt: skip
        self.function = function
        self.name = name
        self.options_ = options
        self._enqueuer = enqueuer
        self._middleware = middleware  # the app's own list, which may grow
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", name)
        self.__qualname__ = getattr(function, "__qualname__", name)
        self.__module__ = getattr(function, "__module__", "")
        self.__wrapped__ = function
        # A generator yields its progress; one that is asynchronous runs like a coroutine.
        self.is_generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        self.is_coroutine = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        _check_function(self)
        self._read_signature()
        self._defaults = Spec(task=name, queue=options.queue, priority=options.priority)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name} on queue {self.options_.queue}>"

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobId:
        """Enqueue a job with these arguments and return its id.

        In the transaction of `app.using(...)` if there is one, else in one of its own.
        Raises InvalidPayload when the arguments do not fit the task or are not JSON.
        """
        return self._enqueuer.enqueue_spec(self.spec(*args, **kwargs), None)

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobId:
        """The same as `enqueue`, for callers in an event loop."""
        return await self._enqueuer.aenqueue_spec(self.spec(*args, **kwargs), None)

    def spec(self, /, *args: P.args, **kwargs: P.kwargs) -> Spec:
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
        if available_at is not None and available_at.utcoffset() is None:
            raise InvalidJob(
                "available_at needs a time zone: a naive datetime means a different moment to every server."
            )
        if queue is not None:
            _check_name("queue", queue, InvalidJob)
        defaults = dataclasses.replace(
            self._defaults,
            queue=self._defaults.queue if queue is None else queue,
            priority=self._defaults.priority if priority is None else _priority(priority, InvalidJob),
            delay=None if delay is None else _duration("delay", delay, InvalidJob),
            available_at=available_at,
            max_attempts=None if max_attempts is None else _max_attempts(max_attempts, InvalidJob),
            timeout=_timeout(timeout, InvalidJob),
            metadata=None if metadata is None else encode_metadata(metadata, task=self.name),
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

    def around(self, context: JobContext) -> Around | Plain:
        """Return the app's middleware as a context manager around one run of the function."""
        return Around(self._middleware, context) if self._middleware else Plain()

    def takes_only(self, argument: str) -> bool:
        """Whether the function can be called with this argument and no other."""
        return (self._takes_any or argument in self._known) and self._required <= {argument}

    def _payload(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if args:
            if len(args) > len(self._positions):
                raise InvalidPayload(
                    f"{self.name} takes {len(self._positions)} by position, but {len(args)} were given."
                )
            for name, value in zip(self._positions, args, strict=False):
                if name in kwargs:
                    raise InvalidPayload(f"{self.name} got the argument {name!r} twice.")
                kwargs[name] = value
        self._check_names(kwargs)
        return encode_payload(kwargs, task=self.name)

    def _check_names(self, names: Mapping[str, Any]) -> None:
        if self._context_parameter in names:
            raise InvalidPayload(f"The argument {self._context_parameter!r} of {self.name} is filled in by the worker.")
        if not self._takes_any and (unknown := names.keys() - self._known):
            raise InvalidPayload(f"{self.name} has no {_arguments(unknown)}.")
        if missing := self._required - names.keys():
            raise InvalidPayload(f"{self.name} needs the {_arguments(missing)}.")

    def _read_signature(self) -> None:
        """Remember which names the function takes, so that neither enqueue nor run has to inspect it."""
        self._context_parameter: str | None = None
        self._takes_any = False
        known, required = [], set()
        for parameter in _parameters(self):
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise ConfigurationError(
                    f"The task {self.name} cannot take {parameter}: a job carries its arguments by name."
                )
            if parameter.kind is parameter.VAR_KEYWORD:
                self._takes_any = True
            elif _is_context(parameter.annotation):
                if self._context_parameter is not None:
                    raise ConfigurationError(f"The task {self.name} has two parameters for the JobContext.")
                self._context_parameter = parameter.name
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

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobId:
        """Enqueue a job with these arguments and settings and return its id."""
        return self._task._enqueuer.enqueue_spec(self.spec(*args, **kwargs), self._tx)

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobId:
        """The same as `enqueue`, for callers in an event loop."""
        return await self._task._enqueuer.aenqueue_spec(self.spec(*args, **kwargs), self._tx)

    def spec(self, /, *args: P.args, **kwargs: P.kwargs) -> Spec:
        """Return the job without enqueuing it, for `app.enqueue_many`."""
        return dataclasses.replace(self._defaults, payload=self._task._payload(args, kwargs))


def _parameters(task: Task[Any, Any]) -> Iterable[inspect.Parameter]:
    """Return the parameters of a task's function, with their annotations read where they can be."""
    with suppress(Exception):  # an annotation that only a type checker can read
        return inspect.signature(task.function, eval_str=True).parameters.values()
    try:
        return inspect.signature(task.function).parameters.values()
    except Exception as error:
        raise ConfigurationError(f"The parameters of the task {task.name} cannot be read: {error}.") from None


def _is_context(annotation: Any) -> bool:
    annotation = getattr(annotation, "__forward_arg__", annotation)
    if isinstance(annotation, str):  # it could not be read
        return re.fullmatch(r"(\w+\.|Optional\[)*JobContext(\s*\|\s*None|])?", annotation) is not None
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return any(map(_is_context, get_args(annotation)))
    return annotation is JobContext


def _check_function(task: Task[Any, Any]) -> None:
    """Raise ConfigurationError for a function that its executor cannot run."""
    name, executor = task.name, task.options_.executor
    if executor == "async" and not task.is_coroutine:
        raise ConfigurationError(f"The task {name} is not a coroutine function: the async executor cannot run it.")
    if executor == "thread" and task.is_coroutine:
        raise ConfigurationError(f"The task {name} is a coroutine function: run it by the async or process executor.")
    if executor == "process" and "<locals>" in task.__qualname__:
        raise ConfigurationError(
            f"The task {name} is defined inside a function, where a child process cannot find it: move it to a module."
        )


def _check_name(kind: str, name: str, error: type[PgjobsError]) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= 200:
        raise error(f"The name of a {kind} must have 1 to 200 characters.")
    if re.search("[\0\ud800-\udfff]", name):
        raise error(f"The name of a {kind} cannot hold NUL or half of a surrogate pair: {name!r}.")


def _priority(value: int, error: type[PgjobsError]) -> Priority:
    try:
        return Priority(value)
    except ValueError:
        raise error(f"The priority of a job must be one of -2, -1, 0, 1, 2, not {value!r}.") from None


def _max_attempts(value: int, error: type[PgjobsError]) -> int:
    if not isinstance(value, int) or not 1 <= value <= 32_767:
        raise error(f"max_attempts must be a number from 1 to 32767, not {value!r}.")
    return value


def _timeout(value: timedelta | float | None, error: type[PgjobsError]) -> timedelta | None:
    timeout = None if value is None else _duration("timeout", value, error)
    if timeout is not None and timeout <= timedelta(0):
        raise error(f"A timeout must be longer than nothing, not {timeout}.")
    return timeout


def _duration(what: str, value: timedelta | float, error: type[PgjobsError]) -> timedelta:
    try:
        duration = as_timedelta(value)
    except (TypeError, ValueError, OverflowError):
        raise error(f"{what} must be seconds or a timedelta, not {value!r}.") from None
    if duration > LONGEST:
        raise error(f"{what} must not be longer than a century, and {duration} is.")
    return duration


_UNITS = {"": 1, "b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30, "tb": 2**40}  # as PostgreSQL counts


def _bytes(value: int | str, task: str) -> int:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(value).lower())
    if found is None or found[2] not in _UNITS or not (size := int(float(found[1]) * _UNITS[found[2]])):
        raise ConfigurationError(f"max_rss of {task} must be bytes or a text like '512MB', not {value!r}.")
    return size


def _arguments(names: Iterable[str]) -> str:
    listed = sorted(map(repr, names))
    return f"argument{'s' if len(listed) > 1 else ''} {', '.join(listed)}"
