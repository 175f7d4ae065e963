"""What comes before the first job: what is imported, and how often the database is asked. Counted, and not timed."""

from __future__ import annotations

import json
import subprocess
import sys

import psycopg

import pgjobs
from pgjobs.worker import alone
from pgjobs.worker.keeper import Keeping
from tests.client.between import Between
from tests.worker.conftest import run


def imported(code: str) -> set[str]:
    """What is imported by this code, besides what Python imports for itself."""
    code = (
        f"import sys; before = set(sys.modules); {code}; import json; print(json.dumps([*set(sys.modules) - before]))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_a_worker_claims_at_its_third_round_trip(dsn: str) -> None:
    to_connect, between = Between(dsn), Between(dsn)
    with psycopg.connect(to_connect.dsn):
        connecting = to_connect.trips
    app, trips = pgjobs.App(between.dsn), []

    @app.task
    async def first() -> None:
        trips.append(between.trips)

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("select pgjobs.enqueue('first')")
    run(app.make_worker(drain=True, concurrency=1, keeping=Keeping).run)
    # Its session and the schema, its registration, its claim; that it listens comes afterwards.
    assert trips == [connecting + 3]


def test_a_worker_process_imports_what_it_needs_and_no_more() -> None:
    modules = imported("import pgjobs.supervised, pgjobs; pgjobs.App()")
    assert (
        modules & {"sqlalchemy", "alembic", "click", "croniter", "psycopg_pool", "pgjobs.cli", "pgjobs.schema"} == set()
    )
    assert len(modules) < 390  # psycopg and asyncio are 280 of them


def test_a_command_line_that_becomes_a_supervisor_imports_neither_driver_nor_app() -> None:
    modules = imported("import pgjobs.__main__, pgjobs.cli.worker")
    assert modules & {"psycopg", "asyncio", "pgjobs.app", "pgjobs.task", "pgjobs.calls", "pgjobs.worker"} == set()
    assert len(modules) < 140


def test_a_process_is_begun_ahead_before_anything_else_is_imported() -> None:
    modules = imported("import pgjobs.__main__")
    assert {name for name in modules if name.startswith("pgjobs")} == {
        "pgjobs", "pgjobs.__main__", "pgjobs.ahead", "pgjobs.version",
    }  # fmt: skip
    assert len(modules) < 45


def test_a_supervisor_imports_neither_driver_nor_app() -> None:
    code = f"import runpy; runpy.run_path({alone.__file__!r})['stand_in'](); import pgjobs.worker.supervisor"
    modules = imported(code)
    assert modules & {"psycopg", "psycopg_pool", "asyncio", "click", "pgjobs.app", "pgjobs.task"} == set()
    assert len(modules) < 140
