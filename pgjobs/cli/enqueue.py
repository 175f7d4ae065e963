"""`pgjobs enqueue`."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

import click

from pgjobs.cli.apps import find_app
from pgjobs.cli.database import connection_to
from pgjobs.cli.durations import DURATION
from pgjobs.cli.records import echo_json
from pgjobs.cli.target import Command, Target, pass_target
from pgjobs.client import Client
from pgjobs.connections import PsycopgRunner
from pgjobs.errors import InvalidPayload
from pgjobs.job import Priority, Spec
from pgjobs.payload import encode_payload


class PriorityType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """A parameter that is a Priority, by name or number."""

    name = "priority"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Priority:
        """Return the priority; a value that is none is wrong usage."""
        by_name = {name: p for p in Priority for name in (p.name.lower(), str(int(p)))}
        found = by_name.get(str(value).strip().lower())
        if found is None:
            names = ", ".join(f"{p.name.lower()} ({int(p)})" for p in Priority)
            self.fail(f"{value!r} is not one of {names}.", param, ctx)
        return found


@click.command(cls=Command)
@click.argument("task")
@click.option(
    "--payload", metavar="JSON", default="{}", help="The arguments by name; - reads them from standard input."
)
@click.option("--queue", metavar="QUEUE", help="Default: the task's, or 'default' without an app.")
@click.option("--priority", type=PriorityType(), help="critical, high, normal, low, bulk, or -2 to 2.")
@click.option("--delay", type=DURATION, help="Run it this much later.")
@click.option("--max-attempts", type=click.IntRange(1, 32_767), help="Default: as the task says.")
@click.option("--timeout", type=DURATION, help="How long one run may take. Default: as the task says.")
@click.option(
    "--payload-version", "version", type=click.IntRange(1, 32_767),
    help="Of an older form of the payload. Default: the task's, or 1 without an app.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help='Print {"id": ...}.')
@pass_target
def enqueue(
    target: Target,
    task: str,
    payload: str,
    queue: str | None,
    priority: int | None,
    delay: timedelta | None,
    max_attempts: int | None,
    timeout: timedelta | None,
    version: int | None,
    as_json: bool,
) -> None:
    """Put a job of TASK into its queue and print its id.

    With an app the payload is checked against the task's function, queue and priority are the task's, and the app's own
    around_enqueue is around it. Without one any name is taken as it is.

    \b
    Examples:
      pgjobs enqueue read_letter --payload '{"letter_id": 7}'
      pgjobs enqueue send_report --queue mail --priority high --delay 5m
    """
    arguments = _read(sys.stdin.read() if payload == "-" else payload)
    text = encode_payload(arguments, task=task)
    app = find_app(target)
    if app is not None:
        known = app[task]
        version = known.version if version is None else version
        known.check(known.present(arguments, version))
        queue = known.options_.queue if queue is None else queue
        priority = known.options_.priority if priority is None else priority
    spec = Spec(
        task=task,
        payload=text,
        queue="default" if queue is None else queue,
        priority=Priority.NORMAL if priority is None else priority,
        delay=delay,
        max_attempts=max_attempts,
        timeout=timeout,
        version=version,
    )
    with connection_to(target) as connection, connection.transaction():
        id = Client(PsycopgRunner(connection)).enqueue(spec) if app is None else app.enqueue_spec(spec, connection)
    if as_json:
        echo_json({"id": id})
    else:
        click.echo(id)


def _read(text: str) -> dict[str, Any]:
    """Return the arguments in a JSON text. Raises InvalidPayload."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    try:
        arguments = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise InvalidPayload("The payload is nested too deeply.") from None
    except ValueError as error:
        raise InvalidPayload(
            f"The payload is not JSON: {error}. Give the arguments by name, like --payload '{{\"letter_id\": 7}}'."
        ) from None
    if not isinstance(arguments, dict):
        raise InvalidPayload(
            "The payload must be a JSON object with the arguments by name, like --payload '{\"letter_id\": 7}'."
        )
    return arguments
