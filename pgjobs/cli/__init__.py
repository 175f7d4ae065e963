"""The command line. This module is the main group; a command's module is imported when the command is called.

So `pgjobs --help` is quick, and a worker never imports what only a migration needs.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from pgjobs.cli.edge import one_sentence_per_error
from pgjobs.cli.target import Target, target_options
from pgjobs.ending import ending_in_time
from pgjobs.version import __version__

# By section, in the order of --help: the command, where it is (module and function), and what it does.
COMMANDS = {
    "Schema": {
        "migrate": ("schema.migrate", "Make the pgjobs schema, or bring it up to date."),
        "sql": ("schema.sql", "Print the schema as one SQL script for psql."),
    },
    "Work": {
        "worker": ("worker.worker", "Claim jobs and run them."),
        "enqueue": ("enqueue.enqueue", "Put a job into its queue and print its id."),
    },
    "Steer": {
        "pause": ("steer.pause", "Start nothing of a queue or a task."),
        "resume": ("steer.resume", "Let a paused queue or task run again."),
        "cancel": ("choose.cancel", "Cancel jobs that wait, stop jobs that run."),
        "edit": ("steer.edit", "Change a job that waits."),
        "move": ("choose.move", "Put jobs into another queue."),
        "retry-failed": ("failed.retry_failed", "Make dead letters jobs again."),
        "clear-failed": ("failed.clear_failed", "Delete dead letters for good."),
        "prune": ("steer.prune", "Delete finished jobs that are old."),
    },
    "Look": {
        "status": ("look.status", "Show how the queues stand."),
        "list": ("look.list_jobs", "List jobs, newest first."),
        "show": ("look.show", "Show everything about one job."),
        "workers": ("look.workers", "List the workers."),
    },
    "Begin": {
        "init": ("init.init", "Make an app and a first task in your project."),
        "make": ("make.make", "Write a task, and a test for it."),
        "dev": ("dev.dev", "Run a database and a worker that follows your code."),
        "completion": ("completion.completion", "Print what makes a shell complete pgjobs."),
        "demo": ("demo.demo", "Read real letters with OCR on a private PostgreSQL."),
    },
}
_PLACES = {name: place for section in COMMANDS.values() for name, (place, _) in section.items()}


class Main(click.Group):
    """A group that knows its commands by name and imports the one that is called."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Stand-ins, for whoever only asks for names: completion, suggestions after a typing error.
        for name in _PLACES:
            self.add_command(click.Command(name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program, from its arguments to its end. Tests call `main.main(...)`, which returns to them."""
        with ending_in_time():
            return super().__call__(*args, **kwargs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now."""
        if cmd_name not in _PLACES:
            return None
        module, _, function = _PLACES[cmd_name].partition(".")
        command: click.Command = getattr(importlib.import_module(f"pgjobs.cli.{module}"), function)
        return command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of --help."""
        return list(_PLACES)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return names and options that begin so, without importing any command."""
        items = [(name, what) for section in COMMANDS.values() for name, (_, what) in section.items()]
        named = [CompletionItem(name, help=what) for name, what in items if name.startswith(incomplete)]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections of commands without importing any."""
        width = max(map(len, _PLACES))
        for section, commands in COMMANDS.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(width), help) for name, (_, help) in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever goes wrong in it ends here, as one sentence."""
        with one_sentence_per_error(ctx.ensure_object(Target)):
            return super().invoke(ctx)


@click.group(
    cls=Main,
    params=target_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`pgjobs COMMAND --help` tells more, with examples. Start with `pgjobs demo`, or on a database of your own"
    " with `pgjobs migrate`.",
)
@click.version_option(__version__, prog_name="pgjobs", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """A job queue for Python applications that already have PostgreSQL."""
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding does not have must not end a listing.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
