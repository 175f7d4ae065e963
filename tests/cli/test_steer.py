"""`pgjobs pause`, `resume`, `edit`, `prune`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

import pgjobs
from tests.cli.conftest import Cli, WriteApp
from tests.conftest import Connection
from tests.sql.by_hand import Worker, client, enqueue_one, job

pytestmark = pytest.mark.usefixtures("here")


def test_a_queue_is_paused_and_resumed(cli: Cli, db: Connection) -> None:
    id = enqueue_one(db, queue="ocr")
    result = cli("pause", "ocr")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "The queue ocr is paused: nothing of it starts until `pgjobs resume ocr`.\n"
    assert Worker(db, ["ocr"]).claim() == []
    assert cli("resume", "ocr").stdout == "The queue ocr runs again.\n"
    assert Worker(db, ["ocr"]).claim_one().id == id


def test_a_task_is_paused_and_resumed_and_seen_in_status_list_and_show(cli: Cli, db: Connection) -> None:
    told = cli("pause", "--task", "read").stdout
    assert told == "The task read is paused: nothing of it starts until `pgjobs resume --task read`.\n"
    ids = client(db).enqueue_many([pgjobs.Spec("read")] * 1_200)
    assert Worker(db).claim(2_000) == []
    *_, last = cli("status").stdout.splitlines()
    assert last.startswith("The task read has been paused for ")
    assert last.endswith(": 1,200 of its jobs wait in line.")
    assert ["waits", "in", "task/read"] in [line.split() for line in cli("show", ids[0]).stdout.splitlines()]
    assert cli("list", "--status", "waiting", "--limit", 1).stdout.splitlines()[1].endswith("in the line task/read")
    (task,) = json.loads(cli("status", "--tasks", "--json").stdout)
    assert (task["task"], task["waiting"], task["resuming"]) == ("read", 1_200, False)
    assert cli("status", "--tasks").stdout.endswith(": 1,200 of its jobs wait in line.\n")
    resumed = cli("resume", "--task", "read").stdout.splitlines()
    assert resumed == [
        "The task read runs again.",
        "Workers take back 200 more jobs that wait for it, within moments.",
    ]
    assert "The task read is being resumed: 200 of its jobs wait in line." in cli("status").stdout
    client(db).resume_tasks(1_000)
    assert "The task" not in cli("status").stdout
    assert cli("status", "--tasks").stdout == "No task is paused.\n"


def test_pause_and_resume_as_json(cli: Cli) -> None:
    assert json.loads(cli("pause", "ocr", "--json").stdout) == {"queue": "ocr", "paused": True}
    assert json.loads(cli("resume", "--task", "read", "--json").stdout) == {"task": "read", "paused": False}


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_either_a_queue_or_a_task_is_named(cli: Cli, command: str) -> None:
    for arguments in [], ["ocr", "--task", "read"]:
        result = cli(command, *arguments)
        assert result.exit_code == 2
        assert "Name a queue, or a task with --task." in result.stderr


def test_a_name_that_cannot_be_is_refused(cli: Cli) -> None:
    result = cli("pause", "line\nline")
    assert (result.exit_code, result.stderr) == (
        1, "Error: The name of a queue or task must have 1 to 200 characters, none of them a control character.\n",
    )  # fmt: skip
    result = cli("move", "--queue", "ocr", "--to", "caf\udce9")
    assert result.exit_code == 2
    assert r"'caf\udce9' is not text." in result.stderr


def test_a_job_is_edited(cli: Cli, db: Connection) -> None:
    id = enqueue_one(db)
    result = cli(
        "edit", id, "--priority", "high", "--queue", "slow", "--at", "2030-01-31T09:00+01:00", "--payload", '{"n": 1}',
        "--metadata", '{"who": "ann"}', "--max-attempts", 3, "--timeout", "5m",
    )  # fmt: skip
    assert (result.exit_code, result.stdout) == (0, f"Changed job {id}; `pgjobs show {id}` shows it.\n")
    found = job(db, id)
    assert (found.priority, found.queue, found.payload, found.max_attempts) == (-1, "slow", {"n": 1}, 3)
    assert (found.metadata, found.available_at) == ({"who": "ann"}, datetime(2030, 1, 31, 8, tzinfo=UTC))
    edited = json.loads(cli("edit", id, "--delay", 0, "--json").stdout)
    assert (edited["id"], edited["queue"]) == (id, "slow")
    assert datetime.fromisoformat(edited["available_at"]) < datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say what to change"),
        (["--delay", "1m", "--at", "2030-01-01T00:00Z"], "not both"),
        (["--at", "tomorrow"], "is not a time like"),
        (["--at", "2030-01-01T00:00"], "has no time zone"),
        (["--payload", "[1]"], "is not a JSON object"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(cli: Cli, db: Connection, arguments: list[str], sentence: str) -> None:
    result = cli("edit", enqueue_one(db), *arguments)
    assert result.exit_code == 2
    assert sentence in " ".join(result.stderr.split())


def test_a_payload_must_fit_the_task_of_the_app(cli: Cli, db: Connection, write_app: WriteApp) -> None:
    app = write_app("@app.task\ndef work(n: int) -> None: ...")
    id = enqueue_one(db, payload='{"n": 1}')
    result = cli("edit", id, "--app", app, "--payload", '{"m": 2}')
    assert result.exit_code == 1
    assert "'m'" in result.stderr
    assert cli("edit", id, "--app", app, "--payload", '{"n": 2}').exit_code == 0
    assert job(db, id).payload == {"n": 2}


def test_a_job_that_cannot_be_edited_is_one_sentence(cli: Cli, db: Connection) -> None:
    id = enqueue_one(db)
    Worker(db).claim()
    result = cli("edit", id, "--priority", "low")
    assert result.exit_code == 1
    assert f"Job {id} is running and cannot be changed any more" in result.stderr
    assert "There is no job with the id 4711" in cli("edit", 4711, "--priority", "low").stderr


def test_the_history_is_pruned(cli: Cli, db: Connection) -> None:
    ids = client(db).enqueue_many([pgjobs.Spec("work")] * 3)
    client(db).cancel(ids[:2])
    kept = enqueue_one(db)
    assert cli("prune").stdout == "Nothing finished so long ago.\n"
    assert json.loads(cli("prune", "--json").stdout) == {"jobs": 0, "slots": 0}
    assert cli("prune", "--older-than", 0).stdout == "Deleted 2 finished jobs.\n"
    assert [found.id for found in client(db).jobs()] == [kept, ids[2]]


def test_whole_slots_of_the_history_are_told(cli: Cli, db: Connection) -> None:
    at = client(db).now() - timedelta(days=2)
    db.execute(
        "insert into pgjobs.job_history (slot, id, enqueued_at, finished_at, run, attempts, crashes, priority, status,"
        " queue, task, payload) select pgjobs.history_slot(%s), n, %s, %s, 1, 0, 0, 0, 'completed', 'q', 't', '{}'"
        " from generate_series(1, 1500) n",
        (at, at, at),
    )
    assert (
        cli("prune", "--older-than", "1d").stdout == "Deleted 1,500 finished jobs, with 1 whole slot of the history.\n"
    )
