"""`pgjobs status`, `list`, `show`, `workers`."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

import pgjobs
from pgjobs.client import Client
from pgjobs.connections import PsycopgRunner
from pgjobs.job import Lease, Progress
from tests.cli.conftest import Cli
from tests.conftest import Clock, Connection

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def client(db: Connection) -> Client:
    """The verbs on a connection."""
    return Client(PsycopgRunner(db))


@pytest.fixture
def lived(app: pgjobs.App) -> list[int]:
    """Jobs that have seen something, oldest first: done, failed once and done, dead, cancelled, waiting."""

    @app.task
    def add(a: int, b: int) -> dict[str, Any]:
        return {"sum": a + b, "größe": "日本"}

    @app.task(retry=pgjobs.Fixed(0), max_attempts=2)
    def stumble(job: pgjobs.JobContext) -> None:
        if job.attempt == 1:
            raise ValueError("slipped\nbadly\x1b[31m")

    @app.task(max_attempts=1)
    def fall(where: str) -> None:
        raise KeyError(where)

    @app.task
    def give_up() -> None:
        raise pgjobs.Cancel("it was done already")

    ids = [add.enqueue(1, b=2), app.enqueue_spec(pgjobs.Spec("stumble")), fall.enqueue(where="down"), give_up.enqueue()]
    app.run_worker(drain=True)
    return [*ids, add.options(queue="later", delay=300, metadata={"who": "ann"}).enqueue(3, 4)]


def lines(text: str) -> list[list[str]]:
    """The cells of a table that has no blanks in its cells."""
    return [line.split() for line in text.splitlines()]


def test_an_empty_database_is_said_to_be_empty(cli: Cli) -> None:
    for command in ("status", "list", "workers"):
        result = cli(command)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.startswith(("There are no", "No "))
        assert json.loads(cli(command, "--json").stdout) == []


def test_status_counts_per_queue(cli: Cli, lived: list[int], db: Connection) -> None:
    db.execute("select pgjobs.enqueue('x', queue => 'mail')")
    db.execute("select pgjobs.pause('mail')")
    first, *rest = cli("status").stdout.splitlines()
    assert first.split() == [
        "QUEUE", "READY", "SCHEDULED", "WAITING", "RUNNING", "DEAD", "OLDEST", "WORKERS",
    ]  # fmt: skip
    assert rest[0].split() == ["default", "0", "0", "0", "0", "1", "0"]
    assert rest[1].split() == ["later", "0", "1", "0", "0", "0", "0"]
    assert rest[2].split()[:6] == ["mail", "1", "0", "0", "0", "0"]
    assert rest[2].split()[-2:] == ["0", "paused"]


def test_status_as_json_has_the_names_and_numbers_of_the_view(cli: Cli, lived: list[int], db: Connection) -> None:
    db.execute("select pgjobs.enqueue('x', queue => 'mail')")
    found = {queue["queue"]: queue for queue in json.loads(cli("status", "--json").stdout)}
    columns = [column.name for column in db.execute("select * from pgjobs.queue_overview").description or ()]
    assert all(list(queue) == columns for queue in found.values())
    assert found["later"] == {
        "queue": "later", "ready": 0, "scheduled": 1, "running": 0, "dead": 0, "waiting_for": None, "paused": False, "waiting": 0,
    }  # fmt: skip
    assert isinstance(found["mail"]["waiting_for"], float)


def test_status_counts_the_workers_of_a_queue_that_are_heard_of(cli: Cli, client: Client, clock: Clock) -> None:
    client.enqueue(pgjobs.Spec("x", queue="mail"))
    client.register("silent", "host", 1, "0", ["mail"], 4, timedelta(seconds=10))
    clock.advance(timedelta(seconds=20))
    client.register("w", "host", 1, "0", ["mail", "ocr"], 4, timedelta(seconds=60))
    assert cli("status").stdout.splitlines()[1].split()[-1] == "1"


def test_list_shows_the_newest_first_with_what_is_worth_knowing(cli: Cli, lived: list[int]) -> None:
    rows = cli("list").stdout.splitlines()
    assert rows[0].split() == ["ID", "STATUS", "QUEUE", "TASK", "ATTEMPTS", "ENQUEUED", "NOTE"]
    waiting, cancelled, dead, stumbled, done = rows[1:]
    assert [row.split()[0] for row in rows[1:]] == [str(id) for id in reversed(lived)]
    assert waiting.endswith("runs in 5m")
    assert cancelled.endswith("it was done already")
    assert "exhausted: KeyError: 'down'" in dead
    assert stumbled.split()[1:5] == ["completed", "default", "stumble", "1"]
    assert ", took " in done


def test_list_can_be_narrowed_down(cli: Cli, lived: list[int]) -> None:
    def ids(*options: str) -> list[int]:
        return [job["id"] for job in json.loads(cli("list", *options, "--json").stdout)]

    assert ids("--status", "dead") == [lived[2]]
    assert ids("--queue", "later") == [lived[4]]
    assert ids("--task", "add") == [lived[4], lived[0]]
    assert ids("--task", "add", "--status", "completed") == [lived[0]]
    assert ids("--limit", "2") == [lived[4], lived[3]]
    assert ids("--queue", "nowhere") == []
    assert cli("list", "--queue", "nowhere").stdout == "No job fits.\n"
    assert "--limit shows more" in cli("list", "--limit", "2").stderr


def test_list_as_json_has_the_columns_of_the_view_but_errors_it_did_not_look_up(
    cli: Cli, lived: list[int], db: Connection
) -> None:
    jobs = json.loads(cli("list", "--json").stdout)
    columns = {column.name for column in db.execute("select * from pgjobs.all_jobs limit 0").description or ()}
    assert all(set(job) == columns - {"errors"} for job in jobs)
    done = jobs[-1]
    assert (done["status"], done["priority"], done["result"]["sum"]) == ("completed", 0, 3)
    assert datetime.fromisoformat(done["enqueued_at"]).utcoffset() == timedelta(0)


def test_colours_are_for_terminals_whose_owner_wants_them(
    cli: Cli, lived: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (["list"], ["status"], ["show", lived[2]]):
        assert "\x1b[31m" in cli(*command, color=True).stdout
        assert "\x1b" not in cli(*command).stdout
        with monkeypatch.context() as patch:
            patch.setenv("NO_COLOR", "1")
            assert "\x1b" not in cli(*command, color=True).stdout


def test_a_running_job_says_where_and_for_how_long(cli: Cli, client: Client, db: Connection) -> None:
    id = client.enqueue(pgjobs.Spec("x"))
    worker = client.register("w", "host", 1, "0", ["default"], 4, timedelta(seconds=60))
    claimed = db.execute(
        "select id from pgjobs.claim_v1(%s, 1, '{default}', '{0}', '{-infinity}', '{0}', '0', null) where verb = 'claimed'",
        (worker,),
    )
    assert claimed.fetchone() == (id,)
    assert f" on worker {worker}" in cli("list", "--status", "running").stdout
    assert "running" in cli("show", id).stdout
    assert cli("status").stdout.splitlines()[1].split() == ["default", "0", "0", "0", "1", "0", "1"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (Progress(3, 4, "page 3"), "75% (3 of 4): page 3"),
        (Progress(3), "3"),
        (Progress(1200, 4800.5), "25% (1,200 of 4,800.5)"),
        (Progress(message="nearly"), "nearly"),
    ],
)
def test_what_a_job_says_of_its_progress_is_shown(
    cli: Cli, client: Client, db: Connection, said: Progress, shown: str
) -> None:
    id = client.enqueue(pgjobs.Spec("x"))
    worker = client.register("w", "host", 1, "0", ["default"], 4, timedelta(seconds=60))
    db.execute("select pgjobs.claim_v1(%s, 1, '{default}', '{0}', '{-infinity}', '{0}', '0', null)", (worker,))
    client.progress([Lease(id, 1, worker)], [said])
    assert cli("list").stdout.splitlines()[1].endswith(f"on worker {worker}, {shown}")
    assert f"progress   {shown}" in cli("show", id).stdout
    assert json.loads(cli("show", id, "--json").stdout)["progress"]["message"] == said.message


def test_show_tells_everything_about_a_job(cli: Cli, lived: list[int]) -> None:
    done = cli("show", lived[0]).stdout
    assert done.startswith(f"Job {lived[0]}: add\n  status    completed\n")
    assert '"sum": 3' in done
    assert '"größe": "日本"' in done
    assert "errors" not in done
    waiting = cli("show", lived[4]).stdout
    assert '"who": "ann"' in waiting
    assert "(in 5m)" in waiting


def test_show_tells_how_every_attempt_failed_and_the_last_traceback(cli: Cli, lived: list[int]) -> None:
    for id, error in ((lived[1], "ValueError: slipped\n      badly\\x1b[31m"), (lived[2], "KeyError: 'down'")):
        shown = cli("show", id).stdout
        assert "attempt 1 (run 1, worker " in shown
        assert f"\n      {error}\n" in shown
        assert "Traceback (most recent call last):" in shown
        assert "\x1b" not in shown
    assert "reason    exhausted: KeyError: 'down'" in cli("show", lived[2]).stdout


def test_show_as_json_is_one_object_with_the_errors(cli: Cli, lived: list[int]) -> None:
    dead = json.loads(cli("show", lived[2], "--json").stdout)
    assert (dead["id"], dead["status"], dead["payload"]) == (lived[2], "dead", {"where": "down"})
    [error] = dead["errors"]
    assert (error["attempt"], error["error"], error["message"]) == (1, "KeyError", "'down'")
    assert "Traceback" in error["traceback"]
    assert datetime.fromisoformat(error["failed_at"])


def test_show_of_a_job_that_is_not_there_is_one_sentence(cli: Cli) -> None:
    result = cli("show", 12345)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: There is no job with the id 12345: it never was, or it was pruned, or ")
    assert result.stderr.count("\n") == 1


def test_workers_are_listed_with_their_state(cli: Cli, client: Client, db: Connection, clock: Clock) -> None:
    client.register("old", "alpha", 11, "0", ["mail"], 4, timedelta(seconds=10))
    clock.advance(timedelta(seconds=20))
    stopping = client.register("ends", "beta", 12, "0", ["mail"], 4, timedelta(seconds=60))
    client.renew(stopping, 3, None, True)
    client.register("new", "gamma", 13, "0", ["mail", "ocr"], 8, timedelta(seconds=60))
    rows = lines(cli("workers").stdout)
    assert rows[0] == ["ID", "STATE", "NAME", "HOST", "PID", "QUEUES", "RUNNING", "RENEWED", "STARTED"]
    assert [row[1:7] for row in rows[1:3]] == [
        ["lost", "old", "alpha", "11", "mail", "0/4"],
        ["stopping", "ends", "beta", "12", "mail", "3/4"],
    ]
    assert rows[3][1:8] == ["alive", "new", "gamma", "13", "mail,", "ocr", "0/8"]
    found = json.loads(cli("workers", "--json").stdout)
    columns = {column.name for column in db.execute("select * from pgjobs.worker_overview").description or ()}
    assert all(set(worker) == columns for worker in found)
    assert found[2]["queues"] == ["mail", "ocr"]


@pytest.mark.parametrize("id", ["abc", "0", "1.5", str(2**63)])
def test_what_can_be_no_id_is_refused(cli: Cli, id: str) -> None:
    result = cli("show", id)
    assert result.exit_code == 2
    assert f"{id!r} is no job id." in result.stderr
