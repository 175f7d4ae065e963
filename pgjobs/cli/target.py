"""What a command is about: which app, which database. Told by --app and --dsn, before or after the command's name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem

from pgjobs.ahead import Ahead

NO_APP = (
    "A worker needs to know the app whose tasks it is to run. Name it with --app package.module:app, in the environment"
    ' as PGJOBS_APP, or in pyproject.toml as app = "package.module:app" under [tool.pgjobs].'
)


@dataclass
class Target:
    """What the command line said; `apps` and `database` make an app and a connection of it."""

    dsn: str | None = None
    app: str | None = None
    debug: bool = False
    ahead: Ahead | None = None  # a worker process that was begun before the command line was read


pass_target = click.make_pass_decorator(Target, ensure=True)


class KnownName(click.types.StringParamType):
    """A text that names a queue or a task; the shell completes those that there are."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name. Bytes that are no text in the terminal's encoding are wrong usage."""
        if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
            self.fail(f"{value!r} is not text.", param, ctx)
        return super().convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names that begin so."""
        from pgjobs.cli import completion  # only when a shell asks

        return completion.names(completion.queues if self.kind == "queue" else completion.tasks, ctx, incomplete)


class Command(click.Command):
    """A command that also takes the options of the main group: people write them before its name and after it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for param in self.params:
            if param.type is click.STRING and param.name in ("queue", "queues", "to_queue", "task"):
                param.type = KnownName("task" if param.name == "task" else "queue")
        self.params.extend(target_options())


def named_by(target: Target) -> str:
    """Return who named the app, for errors."""
    return "--app" if target.app else "PGJOBS_APP" if os.environ.get("PGJOBS_APP") else "pyproject.toml"


def target_options() -> list[click.Parameter]:
    """Return --dsn, --app and --debug; each is kept in the Target of the call."""
    return [
        click.Option(
            ["--dsn"],
            expose_value=False,
            callback=_keep,
            help="The database, as a URL or libpq connection string. Default: the app's own, PGJOBS_DSN,"
            " DATABASE_URL, or what pyproject.toml says.",
        ),
        click.Option(
            ["--app"],
            expose_value=False,
            callback=_keep,
            metavar="MODULE:NAME",
            help="The app with the tasks. Default: PGJOBS_APP, or what pyproject.toml says.",
        ),
        click.Option(
            ["--debug"], is_flag=True, expose_value=False, callback=_keep, help="Show the traceback of an error."
        ),
    ]


def _keep(ctx: click.Context, param: click.Parameter, value: str | bool | None) -> None:
    if value == "":  # a variable of the shell that is not set: better asked than another database taken
        raise click.BadParameter("is empty.", ctx, param)
    if value:  # absent after the command's name, it may have been given before it
        assert param.name is not None
        setattr(ctx.ensure_object(Target), param.name, value)
