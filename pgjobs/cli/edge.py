"""The edge: every error of a command becomes one sentence for a person, here and nowhere else."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click

from pgjobs.cli.target import Target
from pgjobs.sentences import sentence


@contextmanager
def one_sentence_per_error(target: Target) -> Iterator[None]:
    """Turn whatever is raised inside into a message of click's, which ends the program with exit status 1."""
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise  # click's own ways to end
    except Exception as error:
        if target.debug:
            click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
        raise click.ClickException(sentence(error)) from error
