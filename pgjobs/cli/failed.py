"""`pgjobs retry-failed`, `clear-failed`: dead letters become jobs again, or are deleted for good."""

from __future__ import annotations

from datetime import timedelta

import click

from pgjobs import portions
from pgjobs.calls import Filter
from pgjobs.cli.conditions import Counting, of_dead_letters, ranges, tell
from pgjobs.cli.database import connected
from pgjobs.cli.records import echo_json
from pgjobs.cli.target import Command, Target, pass_target
from pgjobs.client import Client
from pgjobs.errors import JobNotFound
from pgjobs.portions import ALL, Portions


@click.command(cls=Command)
@of_dead_letters
@pass_target
def retry_failed(
    target: Target,
    queue: str | None,
    task: str | None,
    ids: tuple[int, ...],
    error: str | None,
    since: timedelta | None,
    limit: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make dead letters jobs again, their attempts counted anew, and print which.

    All conditions must fit; without any, all dead letters are retried. Of ids that are named all must be there, or
    nothing is retried.

    \b
    Examples:
      pgjobs retry-failed --dry-run
      pgjobs retry-failed --queue ocr --error timeout --since 2h
      pgjobs retry-failed --id 42 --id 43
    """
    filter = Filter(sorted(set(ids)) or None, queue, task, error, since)
    with connected(target) as client:
        if dry_run:
            _check_ids(client, filter, "retried")
            _do(client, portions.failed(filter, limit), filter, limit, "Would retry", "retried", as_json)
        else:
            _do(client, portions.retry_failed(filter, limit), filter, limit, "Retried", "retried", as_json)


@click.command(cls=Command)
@of_dead_letters
@click.option("--yes", is_flag=True, help="Do not ask, also where no condition is given.")
@pass_target
def clear_failed(
    target: Target,
    queue: str | None,
    task: str | None,
    ids: tuple[int, ...],
    error: str | None,
    since: timedelta | None,
    limit: int | None,
    dry_run: bool,
    as_json: bool,
    yes: bool,
) -> None:
    """Delete dead letters for good, with their errors, and print which.

    All conditions must fit; without any, all dead letters are deleted, which is asked before. Of ids that are named all
    must be there, or nothing is deleted.

    \b
    Examples:
      pgjobs clear-failed --dry-run
      pgjobs clear-failed --queue ocr --error timeout
      pgjobs clear-failed --id 42 --id 43
      pgjobs clear-failed --yes
    """
    filter = Filter(sorted(set(ids)) or None, queue, task, error, since)
    with connected(target) as client:
        if dry_run:
            _check_ids(client, filter, "deleted")
            _do(client, portions.failed(filter, limit), filter, limit, "Would delete", "deleted", as_json)
            return
        if filter == Filter() and not yes:
            most = "All dead letters" if limit is None else f"{limit:,} dead letters, whichever they are,"
            click.confirm(f"{most} will be deleted for good. Go on?", abort=True, err=True)
        _do(client, portions.clear_failed(filter, limit), filter, limit, "Deleted", "deleted", as_json)


def _do(
    client: Client, sweep: Portions[list[int]], filter: Filter, limit: int | None, what: str, done: str, as_json: bool
) -> None:
    ids: list[int] = []
    counting = Counting(what)

    def told(portion: list[int]) -> None:
        ids.extend(portion)
        counting.more(len(portion))

    try:
        client.sweep(sweep, told)
    except JobNotFound as unknown:
        raise JobNotFound(f"{unknown} `pgjobs list --status dead` shows which there are.") from unknown
    finally:
        # What was done is committed, whatever came after it.
        counting.over()
        if as_json:
            echo_json([{"id": id} for id in ids])
        elif ids:
            tell(what, ids, "dead letter")
    if not ids and not as_json:
        click.echo("No dead letter fits." if filter != Filter() else "There are no dead letters.")
    if limit is None and (left := [id for id in filter.ids or () if id not in set(ids)]):
        click.echo(
            f"Not {done}, for another condition does not fit or somebody has it locked: {ranges(left)}.", err=True
        )


def _check_ids(client: Client, filter: Filter, done: str) -> None:
    """Raise as the deed itself would when a named id is not there."""
    if filter.ids is not None and (missing := set(filter.ids) - set(client.failed(Filter(filter.ids), ALL))):
        raise JobNotFound(
            f"There is no dead letter with the id {min(missing)}; nothing would be {done}."
            " `pgjobs list --status dead` shows which there are."
        )
