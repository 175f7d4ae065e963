"""`pgjobs retry-failed`: dead letters become jobs again."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta

import click

from pgjobs.calls import Filter
from pgjobs.cli.database import connected
from pgjobs.cli.durations import DURATION
from pgjobs.cli.records import echo_json
from pgjobs.cli.target import Command, Target, pass_target
from pgjobs.client import Client
from pgjobs.errors import JobNotFound

PORTION = 1_000  # dead letters a call: a statement stays short however many there are
ALL = 2**31 - 1


@click.command(cls=Command)
@click.option("--queue", metavar="QUEUE", help="Only those of this queue.")
@click.option("--task", metavar="TASK", help="Only those of this task.")
@click.option(
    "--id",
    "ids",
    type=click.IntRange(1, 2**63 - 1),
    multiple=True,
    metavar="ID",
    help="Only this one; may be given several times.",
)
@click.option("--error", metavar="TEXT", help="Only those with this text in their last error, in any case of letters.")
@click.option("--since", type=DURATION, help="Only those that died within this time.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("--dry-run", is_flag=True, help="Show which they are and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects with their ids.")
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
    done: list[int] = []
    with connected(target) as client:
        try:
            for portion in _found(client, filter, limit) if dry_run else _retried(client, filter, limit):
                done += portion
                _so_far(f"{len(done):,} so far")
        except JobNotFound as unknown:
            raise JobNotFound(f"{unknown} `pgjobs list --status dead` shows which there are.") from unknown
        finally:
            _so_far("")
            # What was retried is committed, whatever came after it.
            if as_json:
                echo_json([{"id": id} for id in done])
            elif done:
                _tell(done, "Would retry" if dry_run else "Retried")
    if not done and not as_json:
        click.echo("No dead letter fits." if filter != Filter() else "There are no dead letters.")
    if limit is None and (left := [id for id in filter.ids or () if id not in set(done)]):
        click.echo(
            f"Not retried, for another condition does not fit or somebody has it locked: {_ranges(left)}.", err=True
        )


def _retried(client: Client, filter: Filter, limit: int | None) -> Iterator[list[int]]:
    """Retry, and yield the ids portion by portion."""
    if filter.ids is not None:
        # In one call: all that are named, or none.
        yield client.retry_failed(filter, min(limit or ALL, len(filter.ids)))
        return
    left, after = limit or ALL, 0
    while left > 0:
        portion = client.retry_failed(filter, min(left, PORTION), after)
        yield portion
        if len(portion) < min(left, PORTION):
            return
        left -= len(portion)
        after = portion[-1]


def _found(client: Client, filter: Filter, limit: int | None) -> Iterator[list[int]]:
    """Yield the ids that would be retried."""
    if filter.ids is not None and (missing := set(filter.ids) - set(client.failed(Filter(filter.ids), ALL))):
        raise JobNotFound(f"There is no dead letter with the id {min(missing)}; nothing would be retried.")
    left, after = limit or ALL, 0
    while left > 0 and (portion := client.failed(filter, min(left, PORTION), after)):
        yield portion
        left -= len(portion)
        after = portion[-1]


def _so_far(text: str) -> None:
    """Show on a terminal how far it is, in a line that is gone at the end."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", err=True, nl=False)


def _tell(ids: Sequence[int], what: str) -> None:
    letters = "1 dead letter" if len(ids) == 1 else f"{len(ids):,} dead letters"
    click.echo(f"{what} {letters}: {_ranges(ids)}.")


def _ranges(ids: Sequence[int]) -> str:
    """Return numbers as people write many of them: 3, 5-9, 12."""
    ranges: list[tuple[int, int]] = []
    for id in sorted(ids):
        if ranges and id == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], id)
        else:
            ranges.append((id, id))
    return ", ".join(
        str(first) if first == last else f"{first}, {last}" if last == first + 1 else f"{first}-{last}"
        for first, last in ranges
    )
