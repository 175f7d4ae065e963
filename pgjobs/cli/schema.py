"""`pgjobs migrate` and `pgjobs sql`. The only commands that need Alembic."""

from __future__ import annotations

import click

from pgjobs import schema
from pgjobs.cli.database import dsn_of
from pgjobs.cli.target import Command, Target, pass_target


@click.command(cls=Command)
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if a migration is due.")
@pass_target
@click.pass_context
def migrate(ctx: click.Context, target: Target, check: bool) -> None:
    """Make the pgjobs schema in the database, or bring it up to date.

    Safe to call at every deploy, by several at once: they take turns, and those after the first find nothing to do.
    Everything happens in one transaction.

    \b
    Examples:
      pgjobs migrate --dsn postgresql://localhost/shop
      pgjobs migrate --check || echo "migrate before you deploy"
    """
    dsn = dsn_of(target)
    if not check:
        done = schema.migrate(dsn)
        if done.before is None:
            click.echo(f"Made the schema pgjobs at revision {done.after}.")
        elif done.changed:
            click.echo(f"Migrated the schema pgjobs from revision {done.before} to {done.after}.")
        else:
            click.echo(f"The schema pgjobs is up to date at revision {done.after}; its functions were made anew.")
        return
    due = schema.check(dsn)
    if due.changed:
        now = "is not there yet" if due.before is None else f"is at revision {due.before}"
        click.echo(
            f"A migration is due: the schema pgjobs {now}, revision {due.after} is wanted. Run `pgjobs migrate`."
        )
        ctx.exit(1)
    click.echo(f"The schema pgjobs is up to date at revision {due.after}.")


@click.command(cls=Command)
def sql() -> None:
    """Print the whole schema as one SQL script, for those who run their own migrations.

    It makes the same database as `pgjobs migrate` in an empty one.

    \b
    Example:
      pgjobs sql | psql -v ON_ERROR_STOP=1 shop
    """
    click.echo(schema.render(), nl=False)
