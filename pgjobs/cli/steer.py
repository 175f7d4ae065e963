"""`pgjobs pause`, `resume`, `edit`, `prune`: what people do to queues, tasks, one job, and the history."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click

from pgjobs import portions
from pgjobs.calls import Edit, Pruned
from pgjobs.cli.apps import find_app
from pgjobs.cli.conditions import ID, Counting, JsonObject
from pgjobs.cli.database import connected
from pgjobs.cli.durations import DURATION
from pgjobs.cli.enqueue import PriorityType
from pgjobs.cli.records import echo_json, record
from pgjobs.cli.target import Command, Target, pass_target
from pgjobs.client import Client
from pgjobs.payload import encode_metadata, encode_payload
from pgjobs.steering import fitting

task_option = click.option("--task", metavar="TASK", help="This task, in whatever queues, instead of a queue.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command(cls=Command)
@click.argument("queue", required=False)
@task_option
@json_option
@pass_target
def pause(target: Target, queue: str | None, task: str | None, as_json: bool) -> None:
    """Start nothing of QUEUE, or of a task, until it is resumed. What runs, runs on.

    \b
    Examples:
      pgjobs pause ocr
      pgjobs pause --task read_letter
    """
    what, name = _one_of(queue, task)
    with connected(target) as client:
        client.pause(queue, task)
    if as_json:
        echo_json({what: name, "paused": True})
    else:
        again = f"pgjobs resume {name}" if what == "queue" else f"pgjobs resume --task {name}"
        click.echo(f"The {what} {name} is paused: nothing of it starts until `{again}`.")


@click.command(cls=Command)
@click.argument("queue", required=False)
@task_option
@json_option
@pass_target
def resume(target: Target, queue: str | None, task: str | None, as_json: bool) -> None:
    """Let the paused QUEUE, or a paused task, run again.

    \b
    Examples:
      pgjobs resume ocr
      pgjobs resume --task read_letter
    """
    what, name = _one_of(queue, task)
    with connected(target) as client:
        paused = _is_paused(client, queue, task)
        client.resume(queue, task)
        waiting = sum(found.waiting for found in client.task_overview() if found.task == task and found.resuming)
    if as_json:
        echo_json({what: name, "paused": False})
    else:
        click.echo(f"The {what} {name} runs again." if paused else f"The {what} {name} was not paused.")
        if waiting:
            click.echo(f"Workers take back {waiting:,} more jobs that wait for it, within moments.")


def _is_paused(client: Client, queue: str | None, task: str | None) -> bool:
    if queue is not None:
        return any(found.queue == queue and found.paused for found in client.queue_overview())
    return any(found.task == task and found.paused_at is not None for found in client.task_overview())


def _one_of(queue: str | None, task: str | None) -> tuple[str, str]:
    if (queue is None) == (task is None):
        raise click.UsageError("Name a queue, or a task with --task.")
    return ("queue", queue) if queue is not None else ("task", str(task))


@click.command(cls=Command)
@click.argument("id", type=ID)
@click.option("--priority", type=PriorityType(), help="critical, high, normal, low, bulk, or -2 to 2.")
@click.option("--queue", metavar="QUEUE", help="Another queue.")
@click.option("--delay", type=DURATION, help="Run it this much later than now; 0 at once.")
@click.option(
    "--at", "available_at", metavar="TIME", help="Run it then: ISO 8601 with a time zone, 2030-01-31T09:00+01:00."
)
@click.option("--payload", type=JsonObject(), metavar="JSON", help="Other arguments, all of them, by name.")
@click.option("--metadata", type=JsonObject(), metavar="JSON", help="Other metadata, all of it.")
@click.option("--max-attempts", type=click.IntRange(1, 32_767), help="How many attempts it may have.")
@click.option("--timeout", type=DURATION, help="How long one run may take.")
@json_option
@pass_target
def edit(
    target: Target,
    id: int,
    priority: int | None,
    queue: str | None,
    delay: timedelta | None,
    available_at: str | None,
    payload: dict[str, Any] | None,
    metadata: dict[str, Any] | None,
    max_attempts: int | None,
    timeout: timedelta | None,
    as_json: bool,
) -> None:
    """Change the job ID, which must not run, and be neither finished nor dead. What is not named stays as it is.

    With an app the payload is checked against the task's function.

    \b
    Examples:
      pgjobs edit 42 --priority high --delay 0
      pgjobs edit 42 --queue slow --at 2030-01-31T09:00+01:00
      pgjobs edit 42 --payload '{"letter_id": 8}'
    """
    if delay is not None and available_at is not None:
        raise click.UsageError("Give --delay or --at, not both.")
    change = Edit(
        priority=priority,
        queue=queue,
        delay=delay,
        available_at=None if available_at is None else _moment(available_at),
        payload=None if payload is None else encode_payload(payload, task=f"job {id}"),
        metadata=None if metadata is None else encode_metadata(metadata, task=f"job {id}"),
        max_attempts=max_attempts,
        timeout=timeout,
    )
    if change == Edit():
        raise click.UsageError("Say what to change: --priority, --queue, --delay, --at, --payload, ...")
    app = find_app(target) if payload is not None else None
    with connected(target) as client:
        if app is not None and payload is not None:
            change = fitting(app.tasks, change, client.job(id), payload)
        client.edit(id, change)
        job = client.job(id)
    if as_json:
        echo_json(record(job))
    else:
        click.echo(f"Changed job {id}; `pgjobs show {id}` shows it.")


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a time like 2030-01-31T09:00+01:00.", param_hint="'--at'") from None
    if at.utcoffset() is None:
        raise click.BadParameter(
            f"{text!r} has no time zone: add one, like {text}+01:00 or {text}Z.", param_hint="'--at'"
        )
    return at


@click.command(cls=Command)
@click.option("--older-than", type=DURATION, default="7d", show_default=True, help="What finished longer ago goes.")
@json_option
@pass_target
def prune(target: Target, older_than: timedelta, as_json: bool) -> None:
    """Delete finished jobs that are older than a time, for good. Live jobs and dead letters stay.

    Workers do the same by themselves with what is older than seven and a half days. Where all of a slot of the history is
    old enough it is emptied at once.

    \b
    Examples:
      pgjobs prune
      pgjobs prune --older-than 1d
    """
    done: list[Pruned] = []
    counting = Counting("Deleted")

    def told(pruned: Pruned) -> None:
        done.append(pruned)
        counting.more(pruned.jobs)

    with connected(target) as client:
        try:
            client.sweep(portions.Prune(older_than), told)
        finally:
            counting.over()
            jobs, slots = sum(pruned.jobs for pruned in done), sum(pruned.emptied for pruned in done)
            if as_json:
                echo_json({"jobs": jobs, "slots": slots})
            elif jobs:
                whole = f", with {slots} whole slot{'s' if slots > 1 else ''} of the history" if slots else ""
                click.echo(f"Deleted {jobs:,} finished job{'s' if jobs > 1 else ''}{whole}.")
    if not jobs and not as_json:
        click.echo("Nothing finished so long ago.")
