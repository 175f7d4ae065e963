"""The transaction one is in without saying so: Django's `atomic`, if it is open on the database that the jobs live in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict

from pgjobs import calls
from pgjobs.connections import DjangoRunner, PsycopgRunner, Runner, open_transactions, run

if TYPE_CHECKING:
    from pgjobs.pools import Pools  # see pgjobs.transactions


class Ambient:
    """Finds it, and remembers which of Django's databases is the app's."""

    def __init__(self) -> None:
        self._same: dict[tuple[str, str, str], bool] = {}

    def runner(self, pools: Pools) -> Runner | None:
        """Return the runner for the transaction that is open around the caller, or None if there is none."""
        for runner in open_transactions():
            place = runner.place()
            if place not in self._same:
                self._same[place] = _is_of(pools, runner)
            if self._same[place]:
                return runner
        return None


def _is_of(pools: Pools, runner: DjangoRunner) -> bool:
    dsn = conninfo_to_dict(pools.dsn)
    if (dsn.get("host"), str(dsn.get("port")), dsn.get("dbname")) == runner.place():
        return True
    # One server has many names (localhost, a socket, a pooler): the two connections are asked, once a process.
    with pools.connection() as connection:
        ours = run(PsycopgRunner(connection), calls.database())
    return ours == run(runner, calls.database())
