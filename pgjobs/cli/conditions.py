"""Options that say which jobs, for several commands; and what was done with them, for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from pgjobs.cli.durations import DURATION

F = TypeVar("F", bound=Callable[..., Any])


class JsonObject(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """A parameter that is a JSON object."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Return the object; what is none is wrong usage."""
        if isinstance(value, dict):
            return value
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self.fail(f'{value!r} is not a JSON object like \'{{"who": "ann"}}\'.', param, ctx)
        return found


class IdType(click.IntRange):
    """The id of a job."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the id; what can be none is wrong usage."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{value!r} is no job id.", param, ctx)


ID = IdType(1, 2**63 - 1)


def of_dead_letters(function: F) -> F:
    """Give a command the conditions for dead letters: queue, task, ids, error, since, limit; and dry_run, as_json."""
    for option in reversed((
        click.option("--queue", metavar="QUEUE", help="Only those of this queue."),
        click.option("--task", metavar="TASK", help="Only those of this task."),
        click.option("--id", "ids", type=ID, multiple=True, metavar="ID", help="Only this one; may be given several times."),
        click.option("--error", metavar="TEXT", help="Only those with this text in their last error, in any case of letters."),
        click.option("--since", type=DURATION, help="Only those that died within this time."),
        *_common(),
    )):  # fmt: skip
        function = option(function)
    return function


def of_live_jobs(*statuses: str) -> Callable[[F], F]:
    """Give a command the conditions for live jobs: queue, task, status, older_than, newer_than, metadata, limit; and dry_run,
    as_json."""

    def give(function: F) -> F:
        for option in reversed((
            click.option("--queue", metavar="QUEUE", help="Only jobs of this queue."),
            click.option("--task", metavar="TASK", help="Only jobs of this task."),
            click.option("--status", type=click.Choice(statuses), help="Only jobs of this status. Default: all that do not run."),
            click.option("--older-than", type=DURATION, help="Only jobs that were enqueued longer ago."),
            click.option("--newer-than", type=DURATION, help="Only jobs that were enqueued within this time."),
            click.option("--metadata", type=JsonObject(), metavar="JSON", help="Only jobs whose metadata contain this."),
            *_common(),
        )):  # fmt: skip
            function = option(function)
        return function

    return give


def _common() -> tuple[Callable[[F], F], ...]:
    return (
        click.option("--limit", type=click.IntRange(min=1), help="At most so many."),
        click.option("--dry-run", is_flag=True, help="Show which they are and change nothing."),
        click.option("--json", "as_json", is_flag=True, help="Print an array of objects with their ids."),
    )


class Counting:
    """A line on the terminal that counts while many portions are done, and is gone at the end. Elsewhere nothing."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._portions = self._count = 0

    def more(self, count: int) -> None:
        """So many more are done."""
        self._portions += 1
        self._count += count
        if self._portions > 1 and sys.stderr.isatty():
            click.echo(f"\r{self._what} {self._count:,} ...", nl=False, err=True)

    def over(self) -> None:
        """Wipe the line out."""
        if self._portions > 1 and sys.stderr.isatty():
            click.echo("\r\x1b[K", nl=False, err=True)


def tell(what: str, ids: Sequence[int], noun: str, end: str = "") -> None:
    """Say what was done with which: Retried 3 dead letters: 1, 5-6."""
    click.echo(
        f"{what} 1 {noun}{end}: {ids[0]}." if len(ids) == 1 else f"{what} {len(ids):,} {noun}s{end}: {ranges(ids)}."
    )


def ranges(ids: Sequence[int]) -> str:
    """Return numbers as people write many of them: 3, 5-9, 12."""
    found: list[tuple[int, int]] = []
    for id in sorted(ids):
        if found and id == found[-1][1] + 1:
            found[-1] = (found[-1][0], id)
        else:
            found.append((id, id))
    return ", ".join(
        str(first) if first == last else f"{first}, {last}" if last == first + 1 else f"{first}-{last}"
        for first, last in found
    )
