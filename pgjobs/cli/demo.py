"""`pgjobs demo`: real letters, real OCR, on a private PostgreSQL. What it does is in examples/letters."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from pgjobs import settings
from pgjobs.cli.target import Command, Target, pass_target
from pgjobs.errors import ConfigurationError


@click.command(
    cls=Command,
    epilog="""\b
Examples:
  pgjobs demo                     on a private server that is gone afterwards
  pgjobs demo --keep              leave the server up, to look around
  pgjobs demo --dsn postgresql:///mine   in a database of your own (schemas pgjobs and pgjobs_demo)""",
)
@click.option("--pages", type=click.IntRange(6, 500), default=24, show_default=True, help="How many letters.")
@click.option(
    "--workers",
    type=click.IntRange(1, 32),
    default=os.cpu_count() or 1,
    show_default="one a core",
    help="How many workers.",
)
@click.option("--keep", is_flag=True, help="Leave the private server up at the end.")
@pass_target
@click.pass_context
def demo(ctx: click.Context, target: Target, pages: int, workers: int, keep: bool) -> None:
    """Read real letters with OCR on a private PostgreSQL: one is corrupt, dies, is repaired and retried."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # its workers end with it
    letters = _letters()
    dsn = settings.find_dsn(target.dsn)
    if dsn is not None:
        ok = letters.run(dsn, pages, workers)
        letters.look_yourself(dsn)
    else:
        from pgjobs.embedded import EmbeddedPostgres  # POSIX only, and only needed here

        click.echo(
            "No database was named, so a private PostgreSQL is started" + ("." if keep else " and removed again.")
        )
        server = EmbeddedPostgres()
        if keep:
            server.detach()
        with server:
            ok = letters.run(server.dsn, pages, workers)
            if keep:
                letters.look_yourself(server.dsn)
                click.echo(f"\nThe server stays up. To end it: kill -INT {server.pid}   Its folder: {server.folder}")
            else:
                click.echo("\nWith --keep the server stays up, and the SQL to look at it all is shown here.")
    if not ok:
        click.echo("Not all letters were read.", err=True)
        ctx.exit(1)


def _letters() -> Any:
    """Import the demo from where it lies: inside the package when installed, beside it in a checkout."""
    inside = Path(__file__).parent.parent / "_examples"
    folder = inside if inside.is_dir() else Path(__file__).parent.parent.parent / "examples"
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("letters.demo")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The demo needs packages that are not installed ({error.name}): pip install 'pgjobs[demo]'"
        ) from error
