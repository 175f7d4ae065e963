"""The App: tasks, and how their jobs get into the database and are looked up. What users import first."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from pgjobs.async_client import AsyncClient
from pgjobs.client import Client
from pgjobs.context import JobContext
from pgjobs.errors import ConfigurationError, UnknownTask
from pgjobs.gathering import Gathering
from pgjobs.hooks import Hook, Hooks
from pgjobs.job import Job, JobId, Priority, Spec
from pgjobs.middleware import AroundEnqueue, AroundRun, Enqueuing, checked
from pgjobs.orders import Orders
from pgjobs.policy import ErrorFilter, Policy, RetryAfter
from pgjobs.steering import Steering
from pgjobs.task import Anything, ContextTask, ExecutorName, Keep, Task, TaskDecorator, TaskOptions
from pgjobs.transactions import Transactions
from pgjobs.worker import MakeKeeping, Worker, WorkerOptions, run_until_stopped
from pgjobs.worker.options import tell_of_strange_queues
from pgjobs.worker.supervisor import Supervisor

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H", bound=Hook)
M = TypeVar("M", bound=AroundRun)
N = TypeVar("N", bound=AroundEnqueue)


class App(Steering):
    """Your tasks, and the database their jobs live in.

    `dsn` is a libpq connection string or URL; without one, PGJOBS_DSN, DATABASE_URL or pyproject.toml say. Nothing is
    connected before it is needed. With `require_tx=True` an enqueue outside a transaction of yours is refused.
    """

    def __init__(self, dsn: str | None = None, *, require_tx: bool = False) -> None:
        self.tasks: dict[str, Task[Any, Any]] = {}
        self._around_run: list[AroundRun] = []
        self._around_enqueue: list[AroundEnqueue] = []
        self._hooks = Hooks()
        self._transactions = Transactions(dsn, require_tx)

    # Tasks

    @overload  # see TaskDecorator
    def task(self, function: Callable[Concatenate[Anything, ...], R], /) -> Task[..., R]: ...

    @overload
    def task(self, function: Callable[Concatenate[JobContext, P], R], /) -> ContextTask[P, R]: ...

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...

    @overload
    def task(
        self,
        *,
        name: str | None = None,
        queue: str = "default",
        priority: Priority = Priority.NORMAL,
        max_attempts: int = 5,
        timeout: timedelta | float | None = None,
        executor: ExecutorName | None = None,
        retry: RetryAfter | None = None,
        retry_on: ErrorFilter | None = None,
        fail_on: ErrorFilter | None = None,
        give_up_after: timedelta | float | None = None,
        on_failure: Task[..., Any] | str | None = None,
        keep: Keep = "history",
        version: int = 1,
        interrupt: bool = False,
        max_rss: int | str | None = None,
        max_jobs: int | None = None,
    ) -> TaskDecorator: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        queue: str = "default",
        priority: Priority = Priority.NORMAL,
        max_attempts: int = 5,
        timeout: timedelta | float | None = None,
        executor: ExecutorName | None = None,
        retry: RetryAfter | None = None,
        retry_on: ErrorFilter | None = None,
        fail_on: ErrorFilter | None = None,
        give_up_after: timedelta | float | None = None,
        on_failure: Task[..., Any] | str | None = None,
        keep: Keep = "history",
        version: int = 1,
        interrupt: bool = False,
        max_rss: int | str | None = None,
        max_jobs: int | None = None,
    ) -> Any:
        """Make a function a task of this app.

        Arguments: name, by default the function's; queue and priority of its jobs; max_attempts, after which a job
        is a dead letter; timeout of one run, seconds or a timedelta; executor "async" (default for coroutine
        functions), "thread" (default for others) or "process"; retry, the wait between attempts: a backoff, by default
        Exponential(2, max=3600, jitter=0.2), or a list of waits, or a function of attempt and exception; retry_on,
        exception classes or a function of the exception: others are not tried again; fail_on, likewise: these are not;
        give_up_after, seconds or a timedelta from its first failed run on, after which no retry is begun; on_failure,
        the task, or its name, of a job to enqueue when a job of this one dies; keep, "history" or "nothing" of a
        completed job; version of the signature, raised when a change of it would break jobs that are queued already (see
        `Task.upcast`); interrupt, whether JobInterrupted is raised in a thread that is to stop, wherever its Python code is;
        max_rss, how much memory its process may take, bytes or "512MB"; max_jobs, after how many jobs its process is
        replaced.
        A generator yields its progress: done, (done, total), (done, total, message) or a text; it returns its result.
        Raises ConfigurationError for options that make no sense, and for a name that is taken.
        """

        def register(function: Callable[..., Any]) -> Task[..., Any]:
            if not callable(function):
                raise ConfigurationError(
                    f"A task is a function, not {function!r}; its settings go by name: name=, queue=."
                )
            given_name: str = getattr(function, "__name__", "<lambda>") if name is None else name
            if given_name == "<lambda>":
                raise ConfigurationError(f"{function!r} has no name of its own: give the task one with name=.")
            in_loop = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
            default: ExecutorName = "async" if in_loop else "thread"
            options = TaskOptions.make(
                given_name,
                queue=queue,
                priority=priority,
                max_attempts=max_attempts,
                timeout=timeout,
                executor=executor or default,
                policy=Policy.make(
                    given_name,
                    retry=retry,
                    retry_on=retry_on,
                    fail_on=fail_on,
                    give_up_after=give_up_after,
                    on_failure=on_failure,
                ),
                keep=keep,
                version=version,
                interrupt=interrupt,
                max_rss=max_rss,
                max_jobs=max_jobs,
            )
            task = Task(function, given_name, options, self, self._around_run)
            taken = self.tasks.get(task.name)
            if taken is not None and (taken.__module__, taken.__qualname__) != (task.__module__, task.__qualname__):
                raise ConfigurationError(
                    f"There is a task named {task.name} already, in {taken.__module__}: give this one another name=."
                )
            self.tasks[task.name] = task
            return task

        return register if function is None else register(function)

    # Enqueuing

    @contextmanager
    def using(self, tx: Any) -> Iterator[None]:
        """Put every enqueue inside on this transaction; `using(None)`: on none, also inside Django's `atomic`.

        Arguments: tx, a connection of psycopg (or a cursor), SQLAlchemy (or a session), asyncpg or Django.
        """
        with self._transactions.using(tx):
            yield

    def enqueue_many(self, specs: Iterable[Spec], *, tx: Any = None) -> list[JobId]:
        """Enqueue many jobs, all or none, and return their ids in the order given.

        Arguments: specs, from `task.spec(...)`; tx, the transaction they belong to, else one of their own, which is then
        open while an iterable of more than 5,000 that come quickly is read to its end.
        """
        with Enqueuing(self._around_enqueue, specs) as enqueuing:
            gathering = Gathering(enqueuing.specs)
            if not gathering:
                return []
            with (
                gathering.in_turn(self._transactions.turn),
                self._transactions.client(tx, enqueues=True) as client,
            ):
                enqueuing.ids = client.enqueue_many(gathering)
        return enqueuing.done()

    async def aenqueue_many(self, specs: Iterable[Spec], *, tx: Any = None) -> list[JobId]:
        """The same as `enqueue_many`, for callers in an event loop."""
        with Enqueuing(self._around_enqueue, specs) as enqueuing:
            gathering = Gathering(enqueuing.specs)
            if not gathering:
                return []
            with gathering.in_turn():  # what brings the jobs cannot wait for a connection of this loop's
                async with self._transactions.async_client(tx, enqueues=True) as client:
                    enqueuing.ids = await client.enqueue_many(gathering)
        return enqueuing.done()

    def enqueue_spec(self, spec: Spec, tx: Any = None) -> JobId:
        """Enqueue one job that `task.spec(...)` described, and return its id."""
        if not self._around_enqueue:
            with self._transactions.client(tx, enqueues=True) as client:
                return client.enqueue(spec)
        with (
            Enqueuing(self._around_enqueue, (spec,)) as enqueuing,
            self._transactions.client(tx, enqueues=True) as client,
        ):
            enqueuing.ids = [client.enqueue(next(iter(enqueuing.specs)))]
        return enqueuing.done()[0]

    async def aenqueue_spec(self, spec: Spec, tx: Any = None) -> JobId:
        """The same as `enqueue_spec`, for callers in an event loop."""
        if not self._around_enqueue:
            async with self._transactions.async_client(tx, enqueues=True) as client:
                return await client.enqueue(spec)
        with Enqueuing(self._around_enqueue, (spec,)) as enqueuing:
            async with self._transactions.async_client(tx, enqueues=True) as client:
                enqueuing.ids = [await client.enqueue(next(iter(enqueuing.specs)))]
        return enqueuing.done()[0]

    # Around and about

    def around_run(self, middleware: M) -> M:
        """Wrap a generator function around every run of this app's tasks, where the handler runs.

        It is given the JobContext and yields once, receiving the handler's result there, or its exception.
        Raises ConfigurationError for what is no generator function.
        """
        self._around_run.append(checked(middleware, "job"))
        return middleware

    def around_enqueue(self, middleware: N) -> N:
        """Wrap a generator function around every enqueue through this app.

        It is given the Spec and yields it once, changed or not, receiving the job's id there, or the exception.
        Raises ConfigurationError for what is no generator function.
        """
        self._around_enqueue.append(checked(middleware, "spec"))
        return middleware

    def on_start(self, hook: H) -> H:
        """Tell this function of every run that starts. Hooks are given an Event, in the worker's process."""
        return self._hooks.add("start", hook)

    def on_success(self, hook: H) -> H:
        """Tell this function of every job that completed, once that is written."""
        return self._hooks.add("success", hook)

    def on_retry(self, hook: H) -> H:
        """Tell this function of every failed attempt that is followed by another, once that is written."""
        return self._hooks.add("retry", hook)

    def on_failure(self, hook: H) -> H:
        """Tell this function of every job that became a dead letter by the outcome of a run, once that is written."""
        return self._hooks.add("failure", hook)

    def on_error(self, hook: H) -> H:
        """Tell this function of every exception: of handlers, of other hooks, of the worker itself."""
        return self._hooks.add("error", hook)

    # Looking

    def job(self, id: int, *, tx: Any = None) -> Job:
        """Look a job up: live, finished or dead. Raises JobNotFound."""
        with self.client(tx) as client:
            return client.job(id)

    async def ajob(self, id: int, *, tx: Any = None) -> Job:
        """The same as `job`, for callers in an event loop."""
        async with self.aclient(tx) as client:
            return await client.job(id)

    def wait_for(self, job_id: int, timeout: timedelta | float | None = 30) -> Any:
        """Wait until a job is over and return its result. Retries and snoozes are waited out.

        Arguments: timeout, seconds or a timedelta; None waits for ever. A job whose transaction has not committed does
        not exist yet. Raises JobDead, JobCancelled, WaitTimeout, and JobNotFound when nothing is kept of it.
        """
        return self._transactions.waiting.wait_for(job_id, timeout)

    async def await_for(self, job_id: int, timeout: timedelta | float | None = 30) -> Any:
        """The same as `wait_for`, for callers in an event loop."""
        return await self._transactions.waiting.await_for(job_id, timeout)

    @contextmanager
    def client(self, tx: Any = None) -> Iterator[Client]:
        """Lend a client, with every verb: on this transaction, on that of `using`, or on a connection of our own."""
        with self._transactions.client(tx) as client:
            yield client

    @asynccontextmanager
    async def aclient(self, tx: Any = None) -> AsyncIterator[AsyncClient]:
        """The same as `client`, for callers in an event loop."""
        async with self._transactions.async_client(tx) as client:
            yield client

    # Working

    @asynccontextmanager
    async def worker(self, queues: Sequence[str] | None = None, **options: Any) -> AsyncIterator[Worker]:
        """Run a worker inside this event loop while the block runs; leaving it drains what runs, within `grace`.

        Arguments: queues, by default those of the app's tasks; options as in `WorkerOptions`.
        """
        worker = self.make_worker(queues, **options)
        running = asyncio.create_task(worker.run(), name="pgjobs worker")
        try:
            await worker.ready_or_done(running)
            yield worker
        finally:
            worker.stop()
            await running

    @overload
    def run_worker(
        self, queues: Sequence[str] | None = None, *, processes: Literal[0] = 0, **options: Any
    ) -> Worker: ...

    @overload
    def run_worker(
        self, queues: Sequence[str] | None = None, *, processes: int, **options: Any
    ) -> Worker | Supervisor: ...

    def run_worker(
        self, queues: Sequence[str] | None = None, *, processes: int = 0, **options: Any
    ) -> Worker | Supervisor:
        """Run a worker until SIGTERM or SIGINT, or with drain=True until nothing runnable is left.

        Arguments: processes, 0 to run one worker in this process, else how many worker processes to start and look after,
        each with the concurrency given; they import the app by its name. The others as for `worker`.
        Returns the worker, or the supervisor of the workers, whose `stats` say what was done.
        """
        if processes == 0:
            worker = self.make_worker(queues, **options)
            run_until_stopped(worker)
            return worker
        supervisor = Supervisor(self.make_orders(processes, queues, **options))
        supervisor.run()
        return supervisor

    def make_orders(
        self,
        processes: int,
        queues: Sequence[str] | None = None,
        *,
        path: str | None = None,
        log: tuple[str, Literal["text", "json"]] | None = None,
        **options: Any,
    ) -> Orders:
        """Return what a supervisor is to do. Raises ConfigurationError for what makes no sense.

        Arguments: as for `run_worker`; path, where this app is found, as package.module:name; log, how workers log.
        """
        if processes < 1:
            raise ConfigurationError(f"processes must be 0, for a worker in this process, or more, not {processes}.")
        known = WorkerOptions.make(self.tasks, queues, **options)
        tell_of_strange_queues(known, self.tasks)
        seconds = {
            name: value.total_seconds() if isinstance(value, timedelta) else value for name, value in options.items()
        }
        return Orders(
            self.dsn, path or path_of(self), processes, {**seconds, "queues": known.queues}, known.lease.total_seconds(),
            known.grace.total_seconds(), known.drain, log, sys.path,
        )  # fmt: skip

    def make_worker(
        self, queues: Sequence[str] | None = None, *, keeping: MakeKeeping | None = None, **options: Any
    ) -> Worker:
        """Return a worker that is not started yet. Raises ConfigurationError for options that make no sense.

        Arguments: as for `worker`; keeping, who keeps its lease, by default a keeper of its own.
        """
        for task in self.tasks.values():
            task.check_upcasters()
        known = WorkerOptions.make(self.tasks, queues, **options)
        if keeping is None:  # else it was said by who ordered this worker
            tell_of_strange_queues(known, self.tasks)
        return Worker(self.tasks, self.dsn, known, self._hooks, keeping)

    def close(self) -> None:
        """Close the connections for blocking callers; they are opened again when needed."""
        self._transactions.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop, and those for blocking callers."""
        await self._transactions.aclose()

    def use_dsn(self, dsn: str) -> None:
        """Use this database from now on, whatever the code that made the app says. Before anything is connected."""
        self._transactions = self._transactions.on(dsn)

    @property
    def dsn(self) -> str:
        """The DSN in use. Raises ConfigurationError when nobody named one."""
        return self._transactions.dsn

    def __getitem__(self, name: str) -> Task[Any, Any]:
        """Return a task by its name. Raises UnknownTask."""
        try:
            return self.tasks[name]
        except KeyError:
            known = ", ".join(sorted(self.tasks)) or "none"
            raise UnknownTask(f"The app has no task {name!r}; it has: {known}.") from None


def path_of(app: object) -> str:
    """Return where other processes find an app, as package.module:name. Raises ConfigurationError when they cannot."""
    for name, module in list(sys.modules.items()):
        if name in ("__main__", "__mp_main__"):  # a script, which is found only if it was run by a module's name
            name = getattr(getattr(module, "__spec__", None), "name", "")
        for attribute, value in list(vars(module).items()) if name and module is not None else ():
            if value is app:
                return f"{name}:{attribute}"
    raise ConfigurationError(
        "Worker processes import the app by its name, and this one is not a global of an importable module: put it into a"
        " module of its own and run that by `pgjobs worker --app module:app`, or leave out processes=."
    )
