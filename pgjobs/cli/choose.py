"""`pgjobs cancel`, `move`: what people do to the live jobs that they choose."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import click

from pgjobs import portions
from pgjobs.calls import Cancellation, JobFilter
from pgjobs.cli.conditions import ID, Counting, of_live_jobs, ranges, tell
from pgjobs.cli.database import connected
from pgjobs.cli.records import echo_json
from pgjobs.cli.target import Command, Target, pass_target
from pgjobs.client import Client
from pgjobs.payload import encode_metadata


@click.command(cls=Command)
@click.argument("ids", nargs=-1, type=ID, metavar="[ID]...")
@of_live_jobs("ready", "scheduled", "waiting", "running")
@click.option("--all", "everything", is_flag=True, help="All jobs that do not run.")
@click.option("--reason", metavar="TEXT", help="Why; it is kept with the jobs.")
@pass_target
def cancel(
    target: Target,
    ids: tuple[int, ...],
    queue: str | None,
    task: str | None,
    status: str | None,
    older_than: timedelta | None,
    newer_than: timedelta | None,
    metadata: dict[str, Any] | None,
    limit: int | None,
    dry_run: bool,
    as_json: bool,
    everything: bool,
    reason: str | None,
) -> None:
    """Cancel the jobs ID, or all that fit every condition, and print what was done with which.

    Jobs that wait are cancelled at once. Jobs that run are asked to stop: their workers do that within a second, as far as
    the executor can. By conditions those that run are chosen only with --status running. Ends with 1 when jobs
    were named, and none of them was cancelled or asked.

    \b
    Examples:
      pgjobs cancel 42 43 --reason 'ordered twice'
      pgjobs cancel --queue ocr --task read_book --older-than 2d --dry-run
      pgjobs cancel --queue ocr --status running
    """
    filter = _filter(queue, task, status, older_than, newer_than, metadata)
    if sum((bool(ids), filter != JobFilter(), everything)) != 1:
        raise click.UsageError("Say which jobs: ids, or conditions, or --all.")
    with connected(target) as client:
        if dry_run:
            wanted = JobFilter(ids) if ids else filter
            found = [id for done in client.sweep(portions.matching(wanted, limit)) for id in done]
            if ids:
                found += client.matching(JobFilter(ids, status="running"), len(ids))
            _list(found, "Would cancel", as_json)
        elif ids:
            _cancel_named(client, sorted(set(ids))[:limit], reason, as_json)
        else:
            _cancel_fitting(client, filter, reason, limit, as_json)


def _cancel_named(client: Client, ids: Sequence[int], reason: str | None, as_json: bool) -> None:
    done = client.cancel(ids, reason)
    rest = sorted(set(ids) - {*done.cancelled, *done.asked, *done.locked})
    over = client.whereabouts(rest) if rest else {}
    unknown = [id for id in rest if id not in over]
    if as_json:
        results = {id: over[id].value if id in over else "unknown" for id in rest} | _results(done)
        echo_json([{"id": id, "result": results[id]} for id in ids])
    else:
        _tell(done)
        for status in sorted(set(over.values())):
            alike = [id for id in rest if over.get(id) is status]
            click.echo(f"Not cancelled, {status} already: {ranges(alike)}.", err=True)
        if unknown:
            click.echo(f"Not cancelled, never were or were pruned: {ranges(unknown)}.", err=True)
        if done.locked:
            click.echo(f"Not cancelled, locked by somebody at the moment; try again: {ranges(done.locked)}.", err=True)
    if not (done.cancelled or done.asked):
        raise click.exceptions.Exit(1)


def _cancel_fitting(client: Client, filter: JobFilter, reason: str | None, limit: int | None, as_json: bool) -> None:
    done = Cancellation([], [], [])
    counting = Counting("Cancelled")

    def told(portion: Cancellation) -> None:
        done.cancelled.extend(portion.cancelled)
        done.asked.extend(portion.asked)
        counting.more(len(portion.cancelled) + len(portion.asked))

    try:
        client.sweep(portions.cancel_where(filter, reason, limit), told)
    finally:
        # What was done is committed, whatever came after it.
        counting.over()
        if as_json:
            echo_json([{"id": id, "result": result} for id, result in sorted(_results(done).items())])
        else:
            _tell(done)
    if not (as_json or done.cancelled or done.asked):
        click.echo("No job fits.")


def _results(done: Cancellation) -> dict[int, str]:
    by_result = {"cancelled": done.cancelled, "asked": done.asked, "locked": done.locked}
    return {id: result for result, ids in by_result.items() for id in ids}


def _tell(done: Cancellation) -> None:
    if done.cancelled:
        tell("Cancelled", done.cancelled, "job")
    if done.asked:
        tell("Asked", done.asked, "running job", " to stop")


@click.command(cls=Command)
@of_live_jobs("ready", "scheduled", "waiting")
@click.option("--to", "to_queue", metavar="QUEUE", required=True, help="The queue to put them into.")
@click.option("--all", "everything", is_flag=True, help="All jobs that do not run, of all queues.")
@pass_target
def move(
    target: Target,
    queue: str | None,
    task: str | None,
    status: str | None,
    older_than: timedelta | None,
    newer_than: timedelta | None,
    metadata: dict[str, Any] | None,
    limit: int | None,
    dry_run: bool,
    as_json: bool,
    to_queue: str,
    everything: bool,
) -> None:
    """Put jobs that do not run and fit every condition into another queue, and print which.

    They keep priority and time, and stand behind what is due in the other queue already.

    \b
    Examples:
      pgjobs move --queue ocr --to ocr_slow --task read_book
      pgjobs move --queue mail --to mail_later --older-than 1h --dry-run
    """
    filter = _filter(queue, task, status, older_than, newer_than, metadata)
    if (filter != JobFilter()) == everything:
        raise click.UsageError("Say which jobs: conditions, or --all.")
    if queue == to_queue:
        raise click.UsageError("The jobs are in that queue already.")
    ids: list[int] = []
    counting = Counting("Moved")

    def told(portion: list[int]) -> None:
        ids.extend(portion)
        counting.more(len(portion))

    with connected(target) as client:
        sweep = portions.matching(filter, limit) if dry_run else portions.move(to_queue, filter, limit)
        try:
            client.sweep(sweep, told)
        finally:
            counting.over()
            _list(ids, "Would move" if dry_run else "Moved", as_json)


def _list(ids: Sequence[int], what: str, as_json: bool) -> None:
    if as_json:
        echo_json([{"id": id} for id in sorted(ids)])
    elif ids:
        tell(what, ids, "job")
    else:
        click.echo("No job fits.")


def _filter(
    queue: str | None,
    task: str | None,
    status: str | None,
    older_than: timedelta | None,
    newer_than: timedelta | None,
    metadata: dict[str, Any] | None,
) -> JobFilter:
    contained = None if metadata is None else encode_metadata(metadata, task="a condition")
    return JobFilter(None, queue, task, status, older_than, newer_than, contained)
