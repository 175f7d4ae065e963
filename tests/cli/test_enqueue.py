"""`pgjobs enqueue`."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

import pgjobs
from tests.cli.conftest import NO_SERVER, Cli, WriteApp
from tests.conftest import Connection

LETTERS = '@app.task(queue="ocr", priority=pgjobs.Priority.HIGH)\ndef read_letter(letter_id: int): ...'


def test_without_an_app_any_task_is_taken_as_it_is_and_the_id_printed(cli: Cli, here: str, app: pgjobs.App) -> None:
    result = cli("enqueue", "anything", "--payload", '{"a": [1, "ä"]}')
    assert (result.exit_code, result.stderr) == (0, "")
    job = app.job(int(result.stdout))
    assert (job.task, job.queue, job.priority, job.payload) == ("anything", "default", 0, {"a": [1, "ä"]})


def test_every_setting_can_be_given(cli: Cli, here: str, app: pgjobs.App, db: Connection) -> None:
    result = cli("enqueue", "x", "--queue", "q", "--priority", "critical", "--delay", "5m", "--max-attempts", 7,
                 "--timeout", "1h30m", "--json")  # fmt: skip
    job = app.job(json.loads(result.stdout)["id"])
    assert (job.queue, job.priority, job.max_attempts) == ("q", pgjobs.Priority.CRITICAL, 7)
    assert job.available_at is not None
    assert job.available_at - job.enqueued_at == timedelta(minutes=5)
    assert db.execute("select timeout from pgjobs.jobs").fetchone() == (timedelta(minutes=90),)


def test_a_priority_is_a_name_or_a_number(cli: Cli, here: str, app: pgjobs.App) -> None:
    for given, priority in (("-2", -2), ("HIGH", -1), ("normal", 0), ("1", 1), ("bulk", 2)):
        assert app.job(int(cli("enqueue", "x", "--priority", given).stdout)).priority == priority


def test_with_an_app_queue_and_priority_are_the_tasks_unless_given(
    cli: Cli, here: str, app: pgjobs.App, write_app: WriteApp
) -> None:
    path = write_app(LETTERS)
    payload = ("--payload", '{"letter_id": 7}')
    job = app.job(int(cli("enqueue", "read_letter", "--app", path, *payload).stdout))
    assert (job.queue, job.priority) == ("ocr", pgjobs.Priority.HIGH)
    given = ("--queue", "other", "--priority", "low")
    job = app.job(int(cli("enqueue", "read_letter", "--app", path, *payload, *given).stdout))
    assert (job.queue, job.priority) == ("other", pgjobs.Priority.LOW)


VERSIONED = """
import datetime

@app.task(version=2)
def remind(when: datetime.datetime): ...

@remind.upcast(from_version=1)
def _(payload): return {"when": payload["at"]}
"""


def test_a_payload_is_of_the_tasks_version_unless_another_is_given(
    cli: Cli, here: str, app: pgjobs.App, write_app: WriteApp
) -> None:
    path = write_app(VERSIONED)
    new = cli("enqueue", "remind", "--app", path, "--payload", '{"when": "2026-03-01T12:00:00Z"}')
    old = cli(
        "enqueue", "remind", "--app", path, "--payload", '{"at": "2026-03-01T12:00:00Z"}', "--payload-version", "1"
    )
    bare = cli("enqueue", "remind", "--payload-version", "7")
    assert [app.job(int(result.stdout)).version for result in (new, old, bare)] == [2, 1, 7]
    wrong = cli("enqueue", "remind", "--app", path, "--payload", '{"when": "noon"}')
    assert (wrong.exit_code, wrong.stderr) == (
        1, "Error: remind: the argument 'when' must be a datetime with a time zone, not 'noon'.\n",
    )  # fmt: skip
    too_new = cli("enqueue", "remind", "--app", path, "--payload-version", "3")
    assert (too_new.exit_code, "The payload is of version 3, and remind is at version 2" in too_new.stderr) == (1, True)


AROUND = """
app = pgjobs.App(require_tx=True)

@app.task
def read_letter(letter_id: int): ...

@app.around_enqueue
def traced(spec):
    id = yield pgjobs.with_metadata(spec, by="hand")
    print("traced", id)
"""


def test_what_an_app_wraps_around_every_enqueue_is_around_this_one(
    cli: Cli, here: str, app: pgjobs.App, write_app: WriteApp
) -> None:
    result = cli("enqueue", "read_letter", "--app", write_app(AROUND), "--payload", '{"letter_id": 7}')
    assert (result.exit_code, result.stderr) == (0, "")
    traced, id = result.stdout.split()[1:]
    assert traced == id
    assert app.job(int(id)).metadata == {"by": "hand"}


REFUSING = f"""{LETTERS}

@app.around_enqueue
def refuse(spec):
    yield spec
    raise RuntimeError("not today")
"""


def test_what_refuses_an_enqueue_afterwards_takes_it_back(
    cli: Cli, here: str, app: pgjobs.App, write_app: WriteApp
) -> None:
    result = cli("enqueue", "read_letter", "--app", write_app(REFUSING), "--payload", '{"letter_id": 7}')
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: RuntimeError: not today.")
    assert app.jobs() == []


def test_the_payload_can_come_from_standard_input(cli: Cli, here: str, app: pgjobs.App) -> None:
    result = cli("enqueue", "x", "--payload", "-", input=json.dumps({"text": "x" * 300_000}))
    assert len(app.job(int(result.stdout)).payload["text"]) == 300_000


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("{", "The payload is not JSON"),
        ("[1]", "must be a JSON object"),
        ("7", "must be a JSON object"),
        ('{"letter_id": NaN}', "NaN is not JSON"),
        ('{"letter_id": 1e400}', "NaN and infinity are not JSON"),
        ('{"letter_id": "\\u0000"}', "NUL character"),
        ('{"letter_id": "\\ud800"}', "surrogate"),
        ('{"letter_id": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"letter_id": ' + "9" * 5000 + "}", "The payload is not JSON"),
        ("{}", "read_letter needs the argument 'letter_id'"),
        ('{"letter_id": 1, "pages": 2}', "read_letter has no argument 'pages'"),
    ],
)
def test_a_payload_that_cannot_be_is_one_sentence_before_the_database_is_asked(
    cli: Cli, write_app: WriteApp, payload: str, error: str
) -> None:
    options = ("--app", write_app(LETTERS), "--dsn", NO_SERVER)
    result = cli("enqueue", "read_letter", *options, "--payload", "-", input=payload)
    assert (result.exit_code, result.stdout) == (1, "")
    assert error in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_task_that_the_app_does_not_have_is_refused(cli: Cli, write_app: WriteApp) -> None:
    result = cli("enqueue", "read_lettre", "--app", write_app(LETTERS))
    assert result.exit_code == 1
    assert "no task 'read_lettre'; it has: read_letter" in result.stderr


def test_what_only_the_database_refuses_is_a_sentence_too(cli: Cli, here: str) -> None:
    result = cli("enqueue", "x", "--queue", "q" * 201)
    assert result.exit_code == 1
    assert (
        result.stderr == "Error: The name of a queue must have 1 to 200 characters, none of them a control character.\n"
    )
