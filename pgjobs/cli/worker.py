"""`pgjobs worker`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import click

import pgjobs
from pgjobs import logs, settings
from pgjobs.ahead import Ahead
from pgjobs.cli.durations import DURATION
from pgjobs.cli.target import NO_APP, Command, Target, named_by, pass_target
from pgjobs.errors import ConfigurationError
from pgjobs.orders import STOPS, Log, Orders
from pgjobs.texts import span

ALONE = Path(pgjobs.__file__).parent / "worker" / "alone.py"  # run, and not imported


class Concurrency(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """A number, or numbers by executor."""

    name = "concurrency"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "N|EXECUTOR=N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        parts = [part.partition("=") for part in value.split(",")]
        try:
            counts = {name.strip(): int(count or name) for name, _, count in parts}
        except ValueError:
            counts = {}
        if not counts or any(not 1 <= count <= 10_000 for count in counts.values()):
            self.fail(
                f"{value!r} is no number from 1 to 10000, and not like async=100,thread=10,process=2.", param, ctx
            )
        if len(parts) == 1 and not parts[0][1]:
            return int(value)
        from pgjobs.task import ExecutorName  # not at the top: it brings along what a supervisor has no use for

        if not counts.keys() <= set(get_args(ExecutorName)):
            self.fail(f"{value!r} names an executor other than async, thread and process.", param, ctx)
        return counts


CONCURRENCY = Concurrency()


@click.command(cls=Command)
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="QUEUE",
    help="Claim from it; may be given several times. Default: the queues of the app's tasks.",
)
@click.option(
    "--concurrency",
    type=CONCURRENCY,
    help="Jobs at a time, in each process: 20, or async=100,thread=10,process=2. Default: by what the tasks are: 100 async"
    " ones, 10 threads, a process for every core.",
)
@click.option(
    "--processes",
    type=click.IntRange(0, 1_000),
    help="Worker processes, started and looked after by this one. 0: work in this very process, as debuggers like it."
    " Default: 1; with --drain 0.",
)
@click.option(
    "--lease",
    type=DURATION,
    default="60s",
    show_default=True,
    help="How long it may be silent before others take its jobs.",
)
@click.option(
    "--grace", type=DURATION, default="30s", show_default=True, help="How long running jobs may finish at a stop."
)
@click.option(
    "--poll", type=DURATION, default="1s", show_default=True, help="How often to look when nothing is announced."
)
@click.option("--name", help="How people know this worker. Default: host:pid.")
@click.option("--drain", is_flag=True, help="End when nothing runnable is left.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@pass_target
def worker(
    target: Target,
    queues: tuple[str, ...],
    concurrency: int | dict[str, int] | None,
    processes: int | None,
    lease: timedelta,
    grace: timedelta,
    poll: timedelta,
    name: str | None,
    drain: bool,
    log_level: str,
    log_format: Literal["text", "json"],
) -> None:
    """Claim jobs and run them, until SIGTERM or SIGINT (^C).

    A stop lets running jobs finish within --grace; a second signal cuts it short. Jobs that did not finish go back to
    their queues, not counted as attempts. A worker process that dies is replaced, and its jobs are run again at once. Start
    as many as you like, on as many machines. With --drain several processes end when each has found nothing left.

    \b
    Examples:
      pgjobs worker --app shop.jobs:app
      pgjobs worker --app shop.jobs:app --queue ocr --queue mail --concurrency 4
      pgjobs worker --app shop.jobs:app --concurrency async=100,process=2
      pgjobs worker --app shop.jobs:app --processes 4
      pgjobs worker --app shop.jobs:app --drain
    """
    options: dict[str, Any] = {
        "concurrency": concurrency, "lease": lease, "grace": grace, "poll": poll, "name": name, "drain": drain,
    }  # fmt: skip
    log: Log = (log_level, log_format)
    processes = (0 if drain else 1) if processes is None else processes
    if processes and target.ahead is not None:
        _become_supervisor(_unseen_orders(target, processes, list(queues) or None, log, options), target.ahead)
    if target.ahead is not None:
        target.ahead.line.close()  # there is no use for it, and at this it ends
    from pgjobs.cli.apps import app_of  # only now: a supervisor needs none of it

    # Before the app is imported: it may log while it is, and if it configures logging itself, that stands.
    logs.configure(*log)
    app = app_of(target)
    if target.dsn is not None:
        os.environ["PGJOBS_DSN"] = app.dsn  # a job in a child process may enqueue others, into the same database
    if processes:
        path = settings.app_path(target.app)
        orders = app.make_orders(processes, list(queues) or None, path=path, log=log, **options)
        with app.client() as client:  # what is wrong with the database is better said once than by each worker
            client.check_schema()
        app.close()
        _become_supervisor(orders)
    started = time.monotonic()
    done = app.run_worker(list(queues) or None, **options)
    app.close()
    from pgjobs.worker.supervisor import summary

    worked = span(timedelta(seconds=time.monotonic() - started))
    click.echo(f"Worker {done.id} ended after {worked}: {summary(done.stats)}.")


def _unseen_orders(
    target: Target, processes: int, queues: list[str] | None, log: Log, options: Mapping[str, Any]
) -> Orders:
    """Return orders that were not compared with the app: the worker that was begun ahead imports that, and looks."""
    path = settings.app_path(target.app)
    if path is None:
        raise ConfigurationError(NO_APP)
    dsn = "" if target.dsn is None else settings.dsn(target.dsn)
    seconds = {
        name: value.total_seconds() if isinstance(value, timedelta) else value for name, value in options.items()
    }
    return Orders(
        dsn, path, processes, {**seconds, "queues": queues}, seconds["lease"], seconds["grace"], options["drain"], log, sys.path,
        named_by(target), {"PGJOBS_DSN": dsn} if dsn else {}, look=True, debug=target.debug,
    )  # fmt: skip


def _become_supervisor(orders: Orders, ahead: Ahead | None = None) -> NoReturn:
    """Go on as a process that is a supervisor and nothing else: without the app, and under the same id."""
    # From here on a worker may run jobs, and until the supervisor listens to signals one would end it at once: they wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    if ahead is not None:
        ahead.line.sendall(orders.of_worker(1).dump().encode() + b"\n")
        ahead.line.set_inheritable(True)
        orders = replace(orders, ahead=(ahead.pid, ahead.line.fileno()))
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:  # the DSN has a password: not for `ps` to show
        file.write(orders.dump())
        file.seek(0)
        os.set_inheritable(file.fileno(), True)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.execv(sys.executable, [sys.executable, "-P", str(ALONE), str(file.fileno()), orders.app])
