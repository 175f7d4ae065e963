"""A task: a Python function that does one kind of job, and how its jobs are enqueued and run."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, get_args, overload

from pgjobs import checks
from pgjobs.arguments import Arguments
from pgjobs.context import JobContext
from pgjobs.errors import ConfigurationError, InvalidJob, InvalidPayload
from pgjobs.job import JobId, Priority, Spec
from pgjobs.middleware import Around, AroundRun
from pgjobs.payload import decode, encode_metadata, encode_payload
from pgjobs.policy import Policy

P = ParamSpec("P")
R = TypeVar("R")

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

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
    priority: int = Priority.NORMAL
    max_attempts: int = 5
    timeout: timedelta | None = None
    executor: ExecutorName = "thread"
    policy: Policy = dataclasses.field(default_factory=Policy)
    keep: Keep = "history"
    version: int = 1
    interrupt: bool = False
    max_rss: int | None = None  # bytes
    max_jobs: int | None = None

    @classmethod
    def make(cls, task: str, *, queue: str, priority: int, max_attempts: int, timeout: timedelta | float | None,
             executor: ExecutorName, policy: Policy, keep: Keep, version: int, interrupt: bool = False,
             max_rss: int | str | None = None, max_jobs: int | None = None) -> TaskOptions:  # fmt: skip
        """Check the options when the task is declared and not when it runs. Raises ConfigurationError."""
        checks.name("task", task, ConfigurationError)
        checks.name("queue", queue, ConfigurationError)
        if executor not in get_args(ExecutorName):
            raise ConfigurationError(f"The executor of {task} must be async, thread or process, not {executor!r}.")
        if keep not in get_args(Keep):
            raise ConfigurationError(f"keep of {task} must be 'history' or 'nothing', not {keep!r}.")
        if type(version) is not int or not 1 <= version <= 32_767:
            raise ConfigurationError(f"version of {task} must be a number from 1 to 32767, not {version!r}.")
        priority = checks.priority(priority, ConfigurationError)
        max_attempts = checks.max_attempts(max_attempts, ConfigurationError)
        if max_rss is not None:
            max_rss = checks.size(f"max_rss of {task}", max_rss, ConfigurationError)
        if interrupt and executor != "thread":
            raise ConfigurationError(f"interrupt of {task} is for threads: the {executor} executor stops it anyhow.")
        if executor != "process" and not (max_rss is None and max_jobs is None):
            raise ConfigurationError(
                f"max_rss and max_jobs of {task} need executor='process': they replace its process."
            )
        if max_jobs is not None and (not isinstance(max_jobs, int) or max_jobs < 1):
            raise ConfigurationError(f"max_jobs of {task} must be 1 or more, not {max_jobs!r}.")
        return cls(
            queue, priority, max_attempts, checks.timeout(timeout, ConfigurationError), executor, policy, keep, version,
            interrupt=interrupt, max_rss=max_rss, max_jobs=max_jobs,
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
        self.version = options.version
        self._upcasters: dict[int, Upcaster] = {}
        _check_function(self)
        self._arguments = Arguments(function, name)
        self._takes_context = self.is_generator or self._arguments.context is not None
        version = None if options.version == 1 else options.version
        self._defaults = Spec(task=name, queue=options.queue, priority=options.priority, version=version)
        self._carry = self._defaults.carrier()

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
        return self._carry(self._payload(args, kwargs))

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
        defaults = dataclasses.replace(
            self._defaults,
            queue=self._defaults.queue if queue is None else checks.name("queue", queue, InvalidJob),
            priority=self._defaults.priority if priority is None else checks.priority(priority, InvalidJob),
            delay=None if delay is None else checks.duration("delay", delay, InvalidJob),
            available_at=None if available_at is None else checks.moment("available_at", available_at, InvalidJob),
            max_attempts=None if max_attempts is None else checks.max_attempts(max_attempts, InvalidJob),
            timeout=checks.timeout(timeout, InvalidJob),
            metadata=None if metadata is None else encode_metadata(metadata, task=self.name),
            notify=notify,
        )
        return Bound(self, defaults, tx)

    def upcast(self, *, from_version: int) -> Callable[[Upcaster], Upcaster]:
        """Declare how a payload of this version becomes one of the next, for jobs that were enqueued before a change.

        The decorated function takes and returns the payload as JSON has it, a dict. Raises ConfigurationError for a
        version that the task has not left behind, or that has an upcaster already.
        """
        if not isinstance(from_version, int) or not 1 <= from_version < self.version:
            raise ConfigurationError(
                f"{self.name} is at version {self.version}: it can have no upcaster from version {from_version!r}."
            )
        if from_version in self._upcasters:
            raise ConfigurationError(f"{self.name} has an upcaster from version {from_version} already.")

        def register(upcaster: Upcaster) -> Upcaster:
            self._upcasters[from_version] = upcaster
            return upcaster

        return register

    def check_upcasters(self) -> None:
        """Raise ConfigurationError when there is a version that no upcaster leads away from."""
        for version in range(1, self.version):
            if version not in self._upcasters:
                raise ConfigurationError(
                    f"The task {self.name} is at version {self.version} and has no upcaster from version {version}:"
                    f" write one, decorated with @{self.__name__}.upcast(from_version={version})."
                )

    def check(self, payload: Mapping[str, Any]) -> None:
        """Raise InvalidPayload when these arguments, as JSON has them, do not fit the function."""
        self._arguments.load(payload)

    def present(self, payload: dict[str, Any], version: int | None) -> dict[str, Any]:
        """Return a payload as the function of today has it, whatever its version; None means 1.

        Raises InvalidPayload when its names do not fit.
        """
        if (version or 1) != self.version:
            payload = self._upcast(payload, version or 1)
        self._arguments.check_names(payload)
        return payload

    def arguments(self, payload: str, version: int | None, context: JobContext | None) -> Mapping[str, Any]:
        """Return the keyword arguments to call the function with, from a payload of any version (None means 1).

        Arguments: context, None only if nothing shows it. Raises InvalidPayload when the payload does not fit, ValueError
        when it cannot be read, and whatever an upcaster raises.
        """
        values = decode(payload)
        if version != self.version and (version or 1) != self.version:
            values = self._upcast(values, version or 1)
        return self._arguments.load(values) if context is None else self.bind(values, context)

    def bind(self, payload: Mapping[str, Any], context: JobContext | None) -> Mapping[str, Any]:
        """Return the keyword arguments to call the function with. Raises InvalidPayload when they do not fit."""
        arguments = self._arguments.load(payload)
        if context is not None and self._arguments.context is not None:
            return {**arguments, self._arguments.context: context}
        return arguments

    def _upcast(self, payload: dict[str, Any], version: int) -> dict[str, Any]:
        if version > self.version:
            raise InvalidPayload(f"The payload is of version {version}, and {self.name} is at version {self.version}.")
        self.check_upcasters()
        for old in range(version, self.version):
            payload = self._upcasters[old](payload)
            if not isinstance(payload, dict):
                raise InvalidPayload(
                    f"The upcaster of {self.name} from version {old} must return a dict, not {payload!r}."
                )
        return payload

    @property
    def is_plain(self) -> bool:
        """Whether to run it is to call its function: it is no generator, and the app has no middleware."""
        return not (self.is_generator or self._middleware)

    @property
    def shows_context(self) -> bool:
        """Whether anything that is called for a run can see its JobContext."""
        return self._takes_context or bool(self._middleware)

    def around(self, context: JobContext) -> Around:
        """Return the app's middleware as a context manager around one run of the function."""
        return Around(self._middleware, context)

    def takes_only(self, argument: str) -> bool:
        """Whether the function can be called with this argument and no other."""
        return self._arguments.take_only(argument)

    def _payload(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        return encode_payload(self._arguments.dump(args, kwargs), task=self.name)


class ContextTask(Task[P, R]):
    """A task whose function takes the JobContext first: whoever calls it passes one, whoever enqueues it does not.

    Only type checkers tell it from a Task.
    """

    def __call__(self, context: JobContext, /, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        return super().__call__(context, *args, **kwargs)  # type: ignore[arg-type]


class Anything:
    """What no function is annotated to take: one that does take it has a first parameter of which nothing is said."""


class TaskDecorator(Protocol):
    """What `@app.task(...)` with settings returns."""

    # First, for a parameter that takes anything would take a JobContext too, and be hidden from those who enqueue.
    @overload
    def __call__(self, function: Callable[Concatenate[Anything, ...], R], /) -> Task[..., R]: ...

    @overload
    def __call__(self, function: Callable[Concatenate[JobContext, P], R], /) -> ContextTask[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class Bound(Generic[P, R]):
    """A task with other settings, from `Task.options`. It enqueues like the task itself."""

    def __init__(self, task: Task[P, R], defaults: Spec, tx: Any) -> None:
        self._task = task
        self._carry = defaults.carrier()
        self._tx = tx

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobId:
        """Enqueue a job with these arguments and settings and return its id."""
        return self._task._enqueuer.enqueue_spec(self.spec(*args, **kwargs), self._tx)

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> JobId:
        """The same as `enqueue`, for callers in an event loop."""
        return await self._task._enqueuer.aenqueue_spec(self.spec(*args, **kwargs), self._tx)

    def spec(self, /, *args: P.args, **kwargs: P.kwargs) -> Spec:
        """Return the job without enqueuing it, for `app.enqueue_many`."""
        return self._carry(self._task._payload(args, kwargs))


def _check_function(task: Task[Any, Any]) -> None:
    """Raise ConfigurationError for a function that its executor cannot run."""
    name, executor = task.name, task.options_.executor
    if executor == "async" and not task.is_coroutine:
        raise ConfigurationError(
            f"The task {name} is not a coroutine function: the async executor cannot run it. Write async def, or leave the executor out."
        )
    if executor == "thread" and task.is_coroutine:
        raise ConfigurationError(f"The task {name} is a coroutine function: run it by the async or process executor.")
    if executor == "process" and "<locals>" in task.__qualname__:
        raise ConfigurationError(
            f"The task {name} is defined inside a function, where a child process cannot find it: move it to a module."
        )
