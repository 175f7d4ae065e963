"""`pgjobs retry-failed`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.cli.conftest import Cli
from tests.conftest import Connection

pytestmark = pytest.mark.usefixtures("here")

Bury = Callable[..., list[int]]


@pytest.fixture
def bury(db: Connection) -> Bury:
    """Put dead letters into the database, and return their ids."""

    def bury(count: int = 1, queue: str = "ocr", task: str = "read", error: str = "Boom: x", ago: str = "0") -> Any:
        return [
            row[0]
            for row in db.execute(
                "insert into pgjobs.dead_letters (id, enqueued_at, failed_at, run, attempts, crashes, priority, queue,"
                " task, payload, reason, error) select nextval(pg_get_serial_sequence('pgjobs.jobs', 'id')), pgjobs.now(),"
                " pgjobs.now() - %s::interval, 1, 1, 0, 0, %s, %s, '{}', 'exhausted', %s"
                " from generate_series(1, %s) returning id",
                (ago, queue, task, error, count),
            )
        ]

    return bury


def retried(cli: Cli, *options: object) -> list[int]:
    result = cli("retry-failed", "--json", *options)
    assert result.exit_code == 0, result.stderr
    return [letter["id"] for letter in json.loads(result.stdout)]


def ready(db: Connection) -> list[int]:
    return [row[0] for row in db.execute("select id from pgjobs.jobs where status = 'ready' order by id")]


def test_all_are_retried_and_named(cli: Cli, bury: Bury, db: Connection) -> None:
    first, *_, last = ids = bury(5)
    result = cli("retry-failed")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"Retried 5 dead letters: {first}-{last}.\n"
    assert ready(db) == ids
    again = cli("retry-failed")
    assert (again.exit_code, again.stdout) == (0, "There are no dead letters.\n")


def test_all_conditions_must_fit(cli: Cli, bury: Bury, db: Connection) -> None:
    [one] = bury(queue="ocr", task="read", error="TimeoutError: Too Slow")
    [two] = bury(queue="mail", task="send", ago="3h")
    [three] = bury(queue="mail", task="read", ago="1h")
    assert retried(cli, "--queue", "mail", "--task", "read", "--since", "30m") == []
    assert retried(cli, "--error", "too slow") == [one]
    assert retried(cli, "--since", "2h") == [three]
    assert cli("retry-failed", "--task", "read").stdout == "No dead letter fits.\n"
    assert retried(cli, "--queue", "mail") == [two]
    assert ready(db) == [one, two, three]


def test_many_are_retried_portion_by_portion_up_to_the_limit(cli: Cli, bury: Bury, db: Connection) -> None:
    ids = bury(2_500)
    bury(1, queue="other")
    assert retried(cli, "--queue", "ocr", "--limit", 2_100) == ids[:2_100]
    assert retried(cli, "--queue", "ocr") == ids[2_100:]
    assert ready(db) == ids


def test_named_ones_are_retried(cli: Cli, bury: Bury, db: Connection) -> None:
    a, b, c, d = bury(4)
    assert cli("retry-failed", "--id", d, "--id", a, "--id", b).stdout == f"Retried 3 dead letters: {a}, {b}, {d}.\n"
    assert ready(db) == [a, b, d]
    assert cli("retry-failed", "--id", c).stdout == f"Retried 1 dead letter: {c}.\n"


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_an_id_that_is_not_there_is_one_sentence_and_nothing_is_retried(
    cli: Cli, bury: Bury, db: Connection, options: list[str]
) -> None:
    [id] = bury()
    result = cli("retry-failed", "--id", id, "--id", id + 1, *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"There is no dead letter with the id {id + 1}; nothing " in result.stderr
    assert result.stderr.count("\n") == 1
    assert ready(db) == []


def test_a_named_one_that_is_left_alone_is_told(cli: Cli, bury: Bury, dsn: str) -> None:
    a, b = bury(2)
    result = cli("retry-failed", "--id", a, "--queue", "mail")
    assert (result.exit_code, result.stdout) == (0, "No dead letter fits.\n")
    assert str(a) in result.stderr
    with psycopg.connect(dsn) as other:
        other.execute("select from pgjobs.dead_letters where id = %s for update", (a,))
        result = cli("retry-failed", "--id", a, "--id", b)
    assert result.stdout == f"Retried 1 dead letter: {b}.\n"
    assert f"locked: {a}." in result.stderr


def test_a_dry_run_changes_nothing(cli: Cli, bury: Bury, db: Connection) -> None:
    a, b = bury(2)
    bury(queue="mail")
    assert cli("retry-failed", "--queue", "ocr", "--dry-run").stdout == f"Would retry 2 dead letters: {a}, {b}.\n"
    assert retried(cli, "--dry-run", "--limit", 1) == [a]
    assert retried(cli, "--dry-run", "--id", b) == [b]
    assert ready(db) == []


def test_what_was_retried_before_the_database_failed_is_told(cli: Cli, bury: Bury, db: Connection) -> None:
    first, *_ = bury(1_500)
    # The second portion meets a dead letter that cannot become a job.
    db.execute("update pgjobs.dead_letters set payload = '[]' where id = %s", (first + 1_200,))
    result = cli("retry-failed")
    assert result.exit_code == 1
    assert result.stdout == f"Retried 1,000 dead letters: {first}-{first + 999}.\n"
    assert result.stderr.count("\n") == 1


def test_how_far_it_is_shows_on_a_terminal_and_is_gone_at_the_end(bury: Bury) -> None:
    bury(1_500)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pgjobs", "retry-failed"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, text=True, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.stdout.startswith("Retried 1,500 dead letters: ")
    assert shown == "\rRetried 1,500 ...\r\x1b[K"


# clear-failed


def left(db: Connection) -> list[int]:
    return [row[0] for row in db.execute("select id from pgjobs.dead_letters order by id")]


def test_dead_letters_are_cleared_by_the_same_conditions(cli: Cli, bury: Bury, db: Connection) -> None:
    a, b, c = bury(3)
    mail = bury(queue="mail")
    assert cli("clear-failed", "--queue", "ocr", "--dry-run").stdout == f"Would delete 3 dead letters: {a}-{c}.\n"
    assert left(db) == [a, b, c, *mail]
    result = cli("clear-failed", "--id", a, "--id", c)
    assert (result.exit_code, result.stdout) == (0, f"Deleted 2 dead letters: {a}, {c}.\n")
    assert json.loads(cli("clear-failed", "--queue", "ocr", "--json").stdout) == [{"id": b}]
    assert left(db) == mail
    assert cli("clear-failed", "--queue", "ocr").stdout == "No dead letter fits.\n"


def test_all_dead_letters_are_cleared_only_after_a_yes(cli: Cli, bury: Bury, db: Connection) -> None:
    ids = bury(2)
    for answer in "n\n", "":
        result = cli("clear-failed", input=answer)
        assert result.exit_code == 1
        assert "All dead letters will be deleted for good. Go on?" in result.stderr
    assert left(db) == ids
    assert f"Deleted 2 dead letters: {ids[0]}, {ids[1]}.\n" in cli("clear-failed", input="y\n").stdout
    bury(1)
    assert cli("clear-failed", "--yes").exit_code == 0
    assert left(db) == []


def test_of_named_dead_letters_all_must_be_there_or_none_is_cleared(cli: Cli, bury: Bury, db: Connection) -> None:
    ids = bury(1)
    for options in [], ["--dry-run"]:
        result = cli("clear-failed", "--id", ids[0], "--id", 4711, *options)
        assert result.exit_code == 1
        assert "There is no dead letter with the id 4711" in result.stderr
    assert left(db) == ids


def test_what_was_cleared_in_many_portions_is_told_once(cli: Cli, bury: Bury, db: Connection) -> None:
    first, *_, last = bury(2_500)
    assert cli("clear-failed", "--yes").stdout == f"Deleted 2,500 dead letters: {first}-{last}.\n"
