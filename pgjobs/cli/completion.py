"""`pgjobs completion`: the shell completes commands and options, queues of the database and tasks of the app."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress

import click
from click.shell_completion import CompletionItem, get_completion_class

from pgjobs.cli.target import Command, Target


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete pgjobs: commands, options, the names of queues and tasks.

    \b
    Examples:
      pgjobs completion bash >> ~/.bashrc
      pgjobs completion zsh >> ~/.zshrc
      pgjobs completion fish > ~/.config/fish/completions/pgjobs.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(ctx.find_root().command, {}, "pgjobs", "_PGJOBS_COMPLETE").source())


def queues(target: Target) -> list[str]:
    """Return the queues of the database that is named."""
    import psycopg  # only now: most completions are of names that need no database

    from pgjobs.cli.database import dsn_of
    from pgjobs.client import Client
    from pgjobs.connections import PsycopgRunner

    with psycopg.connect(dsn_of(target), connect_timeout=1, autocommit=True, client_encoding="UTF8") as connection:
        return [queue.queue for queue in Client(PsycopgRunner(connection)).queue_overview()]


def tasks(target: Target) -> list[str]:
    """Return the tasks of the app that is named."""
    from pgjobs.cli.apps import find_app

    app = find_app(target)
    return sorted(app.tasks) if app is not None else []


def names(of: Callable[[Target], list[str]], ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return the names that begin so; none when they cannot be had, for a completion must not fail or say anything."""
    with suppress(Exception), open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        return [CompletionItem(name) for name in of(ctx.ensure_object(Target)) if name.startswith(incomplete)]
    return []
