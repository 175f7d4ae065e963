"""`pgjobs worker`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, get_args

import click

from pgjobs.cli import logs
from pgjobs.cli.apps import app_of
from pgjobs.cli.durations import DURATION
from pgjobs.cli.tables import span
from pgjobs.cli.target import Command, Target, pass_target
from pgjobs.task import ExecutorName

ORDER = ("done", "failed", "snoozed", "cancelled", "release", "fenced", "stuck")


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
    help="Jobs at a time: 20, or async=100,thread=10,process=2. Default: by what the tasks are: 100 async ones, 10 threads,"
    " a process for every core.",
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
    concurrency: int | dict[ExecutorName, int] | None,
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
    their queues, not counted as attempts. Start as many workers as you like, on as many machines.

    \b
    Examples:
      pgjobs worker --app shop.jobs:app
      pgjobs worker --app shop.jobs:app --queue ocr --queue mail --concurrency 4
      pgjobs worker --app shop.jobs:app --concurrency async=100,process=2
      pgjobs worker --app shop.jobs:app --drain
    """
    # Before the app is imported: it may log while it is, and if it configures logging itself, that stands.
    logs.configure(log_level, log_format)
    app = app_of(target)
    if target.dsn is not None:
        os.environ["PGJOBS_DSN"] = app.dsn  # a job in a child process may enqueue others, into the same database
    started = time.monotonic()
    done = app.run_worker(
        list(queues) or None, concurrency=concurrency, lease=lease, grace=grace, poll=poll, name=name, drain=drain
    )
    app.close()
    worked = span(timedelta(seconds=time.monotonic() - started))
    click.echo(f"Worker {done.id} ended after {worked}: {summary(done.stats)}.")


def summary(stats: Mapping[str, Any]) -> str:
    """Say how many outcomes of each kind there were."""
    words = {"release": "given back", "fenced": "lost to another worker", "stuck": "threads did not stop"}
    return ", ".join(f"{stats[kind]:,} {words.get(kind, kind)}" for kind in ORDER if stats.get(kind)) or "nothing done"
