"""`pgjobs cancel`, `move`."""

from __future__ import annotations

import json
from typing import Any

import pytest

import pgjobs
from tests.cli.conftest import Cli
from tests.conftest import Connection
from tests.sql.by_hand import Connect, Worker, client, enqueue, enqueue_one, job

pytestmark = pytest.mark.usefixtures("here")


def listed(cli: Cli, *arguments: object) -> list[dict[str, Any]]:
    result = cli(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


def test_named_jobs_are_cancelled_asked_or_it_is_told_why_not(cli: Cli, db: Connection) -> None:
    worker = Worker(db)
    running, done, dead = enqueue(db, *map(pgjobs.Spec, "abc"))
    claimed = {claimed.id: claimed for claimed in worker.claim()}
    worker.complete(claimed[done])
    worker.settle(claimed[dead], "fail")
    first, second = enqueue(db, pgjobs.Spec("d"), pgjobs.Spec("e", delay=None))
    result = cli("cancel", second, first, first, running, done, dead, "--reason", "ordered twice")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"Cancelled 2 jobs: {first}, {second}.",
        f"Asked 1 running job to stop: {running}.",
    ]
    assert result.stderr.splitlines() == [
        f"Not cancelled, completed already: {done}.",
        f"Not cancelled, dead already: {dead}.",
    ]
    assert job(db, first).reason == "ordered twice"


def test_where_no_named_job_was_cancelled_the_command_ends_with_1(cli: Cli, db: Connection) -> None:
    id = enqueue_one(db)
    result = cli("cancel", id, 4711)
    assert (result.exit_code, result.stdout) == (0, f"Cancelled 1 job: {id}.\n")
    assert result.stderr == "Not cancelled, never were or were pruned: 4711.\n"
    again = cli("cancel", id, 4711, "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout) == [{"id": id, "result": "cancelled"}, {"id": 4711, "result": "unknown"}]
    for named in (id,), (4711,), (id, "--json"):
        assert cli("cancel", *named).exit_code == 1
    # What fits conditions may be nothing, as with the other commands.
    assert cli("cancel", "--queue", "ocr").exit_code == 0


def test_a_job_that_somebody_has_locked_is_told(cli: Cli, db: Connection, connect: Connect) -> None:
    id = enqueue_one(db)
    somebody = connect(autocommit=False)
    somebody.execute("select from pgjobs.jobs where id = %s for update", (id,))
    result = cli("cancel", id)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Not cancelled, locked by somebody at the moment; try again: {id}.\n"


def test_jobs_are_cancelled_by_conditions(cli: Cli, db: Connection) -> None:
    ann, bob = enqueue(
        db, pgjobs.Spec("read", queue="ocr", metadata='{"who": "ann", "n": 1}'), pgjobs.Spec("read", queue="ocr")
    )
    other = enqueue_one(db)
    conditions = ("--queue", "ocr", "--task", "read", "--newer-than", "1h")
    assert cli("cancel", *conditions, "--dry-run").stdout == f"Would cancel 2 jobs: {ann}, {bob}.\n"
    assert listed(cli, "cancel", *conditions, "--metadata", '{"who": "ann"}') == [{"id": ann, "result": "cancelled"}]
    assert cli("cancel", *conditions).stdout == f"Cancelled 1 job: {bob}.\n"
    assert cli("cancel", *conditions).stdout == "No job fits.\n"
    assert cli("cancel", "--all").stdout == f"Cancelled 1 job: {other}.\n"


def test_more_jobs_than_a_portion_are_cancelled(cli: Cli, db: Connection) -> None:
    ids = client(db).enqueue_many([pgjobs.Spec("read")] * 2_500)
    assert cli("cancel", "--task", "read", "--limit", 1_200).stdout == f"Cancelled 1,200 jobs: {ids[0]}-{ids[1199]}.\n"
    result = cli("cancel", "--task", "read")
    assert (result.stdout, result.stderr) == (f"Cancelled 1,300 jobs: {ids[1200]}-{ids[-1]}.\n", "")


def test_jobs_that_run_are_asked_by_conditions_only_when_that_is_said(cli: Cli, db: Connection) -> None:
    id = enqueue_one(db, queue="ocr")
    Worker(db, ["ocr"]).claim()
    assert cli("cancel", "--queue", "ocr").stdout == "No job fits.\n"
    running = ("cancel", "--queue", "ocr", "--status", "running")
    assert cli(*running, "--dry-run").stdout == f"Would cancel 1 job: {id}.\n"
    assert cli("cancel", id, "--dry-run").stdout == f"Would cancel 1 job: {id}.\n"
    assert cli(*running).stdout == f"Asked 1 running job to stop: {id}.\n"


def test_jobs_are_moved(cli: Cli, db: Connection) -> None:
    first, second = enqueue(db, *[pgjobs.Spec("read", queue="ocr")] * 2)
    enqueue_one(db)
    assert listed(cli, "move", "--queue", "ocr", "--to", "slow", "--dry-run") == [{"id": first}, {"id": second}]
    assert job(db, first).queue == "ocr"
    assert cli("move", "--queue", "ocr", "--to", "slow", "--limit", 1).stdout == f"Moved 1 job: {first}.\n"
    assert cli("move", "--queue", "ocr", "--to", "slow").stdout == f"Moved 1 job: {second}.\n"
    assert cli("move", "--queue", "ocr", "--to", "slow").stdout == "No job fits.\n"
    assert [job(db, id).queue for id in (first, second)] == ["slow", "slow"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["cancel"], ["cancel", "42", "--queue", "ocr"], ["cancel", "42", "--all"], ["cancel", "--queue", "ocr", "--all"],
        ["cancel", "--metadata", "who"], ["cancel", "--status", "completed"], ["cancel", "0"],
        ["move", "--queue", "ocr"], ["move", "--to", "slow"], ["move", "--to", "slow", "--queue", "slow"],
        ["move", "--to", "slow", "--status", "running"],
    ],
)  # fmt: skip
def test_what_is_not_clear_is_wrong_usage_and_does_nothing(cli: Cli, db: Connection, arguments: list[str]) -> None:
    id = enqueue_one(db, queue="ocr")
    assert cli(*arguments).exit_code == 2
    assert job(db, id).status == "ready"
