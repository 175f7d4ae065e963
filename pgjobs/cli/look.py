"""`pgjobs status`, `list`, `show`, `workers`: what is in the database, for people or with --json for programs."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta

import click

from pgjobs.cli.conditions import ID
from pgjobs.cli.database import connected
from pgjobs.cli.records import echo_json, record
from pgjobs.cli.tables import Cell, one_line, printable, relative, span, table
from pgjobs.cli.target import Command, Target, pass_target
from pgjobs.job import AttemptError, Job, Priority, Progress, Status

COLOURS = {
    Status.READY: "blue",
    Status.RUNNING: "cyan",
    Status.WAITING: "magenta",
    Status.COMPLETED: "green",
    Status.CANCELLED: "yellow",
    Status.DEAD: "red",
}
WORKER_COLOURS = {"alive": "green", "stopping": "yellow", "suspected": "yellow", "lost": "red"}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, with the names as in SQL.")


@click.command(cls=Command)
@click.option("--tasks", "only_tasks", is_flag=True, help="Only the tasks that are paused or being resumed.")
@json_option
@pass_target
def status(target: Target, only_tasks: bool, as_json: bool) -> None:
    """Show how the queues stand: how many jobs are due, wait for their time or in a line, run, are dead.

    OLDEST is how long the first job that is due has waited; WORKERS, how many live workers claim from the queue. Tasks that
    are paused are told below.

    \b
    Examples:
      pgjobs status
      pgjobs status --json | jq '.[] | select(.ready > 1000) | .queue'
      pgjobs status --tasks --json
    """
    with connected(target) as client:
        queues = [] if only_tasks else client.queue_overview()
        tasks = client.task_overview()
        alive = [worker for worker in client.worker_overview() if worker.state == "alive"]
        now = client.now()
    if as_json:
        echo_json([record(each) for each in (tasks if only_tasks else queues)])
    elif only_tasks:
        if not tasks:
            click.echo("No task is paused.")
    elif not queues:
        click.echo("There are no jobs that wait, run or are dead.")
    else:
        rows = []
        for queue in queues:
            workers = sum(queue.queue in worker.queues for worker in alive)
            rows.append(
                (
                    queue.queue, queue.ready, queue.scheduled, queue.waiting, queue.running,
                    Cell(queue.dead, "red" if queue.dead else None),
                    "" if queue.waiting_for is None else span(queue.waiting_for),
                    Cell(workers, "red" if queue.ready and not workers else None),
                    Cell("paused", "yellow") if queue.paused else "",
                )
            )  # fmt: skip
        headers = ("QUEUE", "READY", "SCHEDULED", "WAITING", "RUNNING", "DEAD", "OLDEST", "WORKERS", "")
        click.echo(table(headers, rows))
    if not as_json:
        for task in tasks:
            state = (
                "is being resumed" if task.paused_at is None else f"has been paused for {span(now - task.paused_at)}"
            )
            click.echo(f"The task {one_line(task.task)} {state}: {task.waiting:,} of its jobs wait in line.")


@click.command("list", cls=Command)
@click.option("--status", type=click.Choice([s.value for s in Status]), help="Only jobs of this status.")
@click.option("--queue", metavar="QUEUE", help="Only jobs of this queue.")
@click.option("--task", metavar="TASK", help="Only jobs of this task.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="At most so many.")
@json_option
@pass_target
def list_jobs(
    target: Target, status: str | None, queue: str | None, task: str | None, limit: int, as_json: bool
) -> None:
    """List jobs, newest first: those that wait or run, dead letters, and finished ones until they are pruned.

    \b
    Examples:
      pgjobs list
      pgjobs list --status dead --queue ocr --limit 10
      pgjobs list --status running --json
    """
    with connected(target) as client:
        jobs = client.jobs(None if status is None else Status(status), queue, task, limit)
        now = client.now()
    if as_json:
        # Errors are not looked up for a list; an empty array would say that there are none.
        echo_json([record(job, without=["errors"]) for job in jobs])
        return
    if not jobs:
        click.echo("No job fits." if status or queue or task else "There are no jobs.")
        return
    rows = [
        (
            str(job.id), Cell(job.status, COLOURS[job.status]), job.queue, job.task, _attempts(job),
            relative(job.enqueued_at, now), _note(job, now),
        )
        for job in jobs
    ]  # fmt: skip
    headers = ("ID", "STATUS", "QUEUE", "TASK", "ATTEMPTS", "ENQUEUED", "NOTE")
    click.echo(table(headers, rows, width=_terminal_width()))
    if len(jobs) == limit:
        click.echo(f"The newest {limit:,}; --limit shows more.", err=True)


@click.command(cls=Command)
@click.argument("id", type=ID)
@json_option
@pass_target
def show(target: Target, id: int, as_json: bool) -> None:
    """Show everything about the job ID: its arguments, result, times, and how its attempts failed.

    \b
    Examples:
      pgjobs show 42
      pgjobs show 42 --json | jq .result
    """
    with connected(target) as client:
        job = client.job(id)
        now = client.now()
    if as_json:
        echo_json(record(job))
        return
    click.secho(f"Job {job.id}: {one_line(job.task)}", bold=True)
    lines = list(_facts(job, now))
    width = max(len(name) for name, _ in lines) + 2
    for name, text in lines:
        click.echo(f"  {click.style(name.ljust(width), dim=True)}{text}")
    for name, value in (("payload", job.payload), ("metadata", job.metadata), ("result", job.result)):
        if value is not None:
            _section(name, json.dumps(value, indent=2, ensure_ascii=False))
    if job.errors:
        _section("errors", "\n".join(_error(error) for error in job.errors))
        if trace := job.errors[-1].traceback:
            _section("last traceback", trace.rstrip())


@click.command(cls=Command)
@json_option
@pass_target
def workers(target: Target, as_json: bool) -> None:
    """List the workers: alive, stopping, or lost (nothing was heard of them; their jobs are being taken back).

    RUNNING is how many jobs the worker had when it last renewed its lease, of how many it may have.

    \b
    Examples:
      pgjobs workers
      pgjobs workers --json
    """
    with connected(target) as client:
        found = client.worker_overview()
        now = client.now()
    if as_json:
        echo_json([record(worker) for worker in found])
    elif not found:
        click.echo("No worker runs. Start one with `pgjobs worker`.")
    else:
        rows = [
            (
                str(worker.id), Cell(worker.state, WORKER_COLOURS.get(worker.state)), worker.name, worker.host,
                str(worker.pid), ", ".join(worker.queues), f"{worker.running}/{worker.concurrency}",
                relative(worker.renewed_at, now), relative(worker.started_at, now),
            )
            for worker in found
        ]  # fmt: skip
        headers = ("ID", "STATE", "NAME", "HOST", "PID", "QUEUES", "RUNNING", "RENEWED", "STARTED")
        click.echo(table(headers, rows))


def _attempts(job: Job) -> str:
    return str(job.attempts) if job.max_attempts is None else f"{job.attempts}/{job.max_attempts}"


def _note(job: Job, now: datetime) -> str:
    """The one thing worth knowing of a job in this status."""
    match job.status:
        case Status.READY if job.available_at is not None:
            due = relative(job.available_at, now)
            return f"{'due' if job.available_at <= now else 'runs'} {due}"
        case Status.RUNNING if job.claimed_at is not None:
            how_far = f", {_progress(job.progress)}" if job.progress is not None else ""
            return f"for {span(now - job.claimed_at)} on worker {job.worker}{how_far}"
        case Status.WAITING if job.line is not None:
            return f"in the line {one_line(job.line)}"
        case Status.COMPLETED if job.finished_at is not None and job.claimed_at is not None:
            return f"{relative(job.finished_at, now)}, took {span(job.finished_at - job.claimed_at)}"
    return job.reason or ""


def _facts(job: Job, now: datetime) -> Iterator[tuple[str, str]]:
    """The columns of a job in words: name and text. What does not apply is left out."""
    yield "status", click.style(job.status, fg=COLOURS[job.status])
    if job.reason:
        yield "reason", one_line(job.reason)
    if job.status is Status.DEAD:
        yield "again", f"pgjobs retry-failed --id {job.id}"
    if job.line:
        yield "waits in", one_line(job.line)
    yield "queue", one_line(job.queue)
    yield "priority", f"{Priority(job.priority).name.lower()} ({int(job.priority)})"
    yield "attempts", f"{job.attempts}" + (f" of {job.max_attempts}" if job.max_attempts is not None else "")
    if job.crashes:
        yield "crashes", str(job.crashes)
    if job.version > 1:
        yield "version", str(job.version)
    yield "run", str(job.run)
    if job.worker is not None:
        yield "worker", str(job.worker)
    if job.progress is not None:
        yield "progress", one_line(_progress(job.progress))
    times = (
        ("enqueued", job.enqueued_at), ("available", job.available_at), ("claimed", job.claimed_at),
        ("finished", job.finished_at),
    )  # fmt: skip
    for name, moment in times:
        if moment is not None:
            yield name, f"{moment.astimezone():%Y-%m-%d %H:%M:%S} ({relative(moment, now)})"
    if job.claimed_at is not None and job.finished_at is not None:
        yield "took", span(job.finished_at - job.claimed_at)


def _progress(said: Progress) -> str:
    """What a run said of its progress in a line: 30% (3 of 10): page 3."""
    counted = "" if said.done is None else f"{said.done:,}" + ("" if said.total is None else f" of {said.total:,}")
    if said.fraction is not None:
        counted = f"{said.fraction:.0%} ({counted})"
    return ": ".join(filter(None, (counted, said.message))) or "nothing said"


def _error(error: AttemptError) -> str:
    took = span(max(error.failed_at - error.started_at, timedelta(0)))
    head = f"attempt {error.attempt} (run {error.run}, worker {error.worker})"
    text = "\n    ".join(f"{error.error}: {error.message}".splitlines())
    return f"{head}, {error.failed_at.astimezone():%Y-%m-%d %H:%M:%S} after {took}\n    {text}"


def _section(name: str, text: str) -> None:
    click.secho(f"\n  {name}", dim=True)
    click.echo("\n".join("  " + line for line in printable(text).split("\n")))


def _terminal_width() -> int | None:
    """How wide the terminal is; None when the output goes elsewhere, where nothing is cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
