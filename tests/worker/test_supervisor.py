"""A supervisor and its worker processes, as programs of their own. Leases are of an hour: nothing here waits for one to lapse."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import pgjobs
from pgjobs.orders import Orders
from pgjobs.worker import alone
from pgjobs.worker.child import Child
from tests.conftest import Connection
from tests.sql.by_hand import one, until
from tests.worker.supervised import app as their_app

Start = Callable[..., "Program"]

ROOT = Path(__file__).parents[2]
APP = "tests.worker.supervised:app"
ORDERS = Orders("postgresql://", APP, 1, {}, 60, 30, False, None, [])
PATIENCE = 50  # seconds after which a program is ended, and its test fails


class Program:
    """A running `pgjobs worker`, and what it logs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log = ""

    def says(self, text: str) -> re.Match[str]:
        """Read the log up to a line with this text."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line
            if found := re.search(text, line):
                return found
        raise AssertionError(f"it ended without saying {text!r}:\n{self.log}")

    def end(self) -> str:
        """Wait for its end, and return what it printed."""
        out, log = self.process.communicate()
        self.log += log
        return out


@pytest.fixture
def start(dsn: str) -> Iterator[Start]:
    """Start `pgjobs worker` with these arguments, besides the usual ones."""
    with ExitStack() as stack:

        def start(*arguments: str, program: tuple[str, ...] = ("-m", "pgjobs", "worker", "--app", APP)) -> Program:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, *program, "--lease", "1h", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                    env={**os.environ, "PGJOBS_DSN": dsn, "PYTHONWARNINGS": "error"},
                    start_new_session=True,
                )
            )
            patience = threading.Timer(PATIENCE, process.kill)
            patience.start()
            stack.callback(patience.cancel)
            stack.callback(process.kill)
            return Program(process)

        yield start


def workers(db: Connection) -> dict[int, int]:
    """The workers that are renewed for: their processes, by id."""
    return dict(db.execute("select id, pid from pgjobs.workers where supervisor is not null").fetchall())


def begun(db: Connection, count: int) -> dict[int, int]:
    """Wait until so many workers are there."""
    until(db, "count(*) = %s from pgjobs.workers where supervisor is not null", count, seconds=PATIENCE)
    return workers(db)


def lines(path: Path, count: int) -> list[tuple[int, float]]:
    """Wait until so many runs have told in a file which process they are in, and since when."""
    deadline = time.monotonic() + PATIENCE
    while True:
        told = path.read_text().split("\n") if path.exists() else []
        if len(told) > count:
            return [(int(pid), float(at)) for pid, at in (line.split() for line in told[:-1])]
        assert time.monotonic() < deadline, "nobody runs it"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether a process, not a child of ours, has ended; asked until it has, for a while."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False


# Running


def test_each_worker_has_two_connections_and_their_supervisor_one(start: Start, db: Connection) -> None:
    program = start("--processes", "2", "--name", "ann", "--concurrency", "3")
    begun(db, 2)
    until(
        db,
        "array_agg(application_name order by application_name) = '{pgjobs keeper,pgjobs listener,pgjobs listener,"
        "pgjobs worker,pgjobs worker}' from pg_stat_activity where datname = current_database()"
        " and application_name like 'pgjobs%%'",
    )
    assert db.execute("select name, concurrency from pgjobs.workers order by name").fetchall() == [
        ("ann-1", 3),
        ("ann-2", 3),
    ]
    program.process.terminate()
    assert re.fullmatch(r"2 workers ended after .*: nothing done\.\n", program.end())
    assert program.process.returncode == 0
    assert workers(db) == {}


def test_workers_that_drain_end_and_their_supervisor_with_them(start: Start, app: pgjobs.App) -> None:
    ids = app.enqueue_many(their_app["add"].spec(n, 1) for n in range(100))
    program = start("--processes", "2", "--drain")
    assert program.end().endswith(": 100 done.\n")
    assert program.process.returncode == 0, program.log
    assert [app.job(id).result for id in ids] == [n + 1 for n in range(100)]


def test_workers_use_uvloop_where_it_is_installed(start: Start, app: pgjobs.App) -> None:
    pytest.importorskip("uvloop")
    [id] = app.enqueue_many([their_app["which_loop"].spec()])
    start("--drain").end()
    assert app.job(id).result == "uvloop"


def test_a_worker_whose_threads_are_stuck_ends_and_is_replaced(
    start: Start, app: pgjobs.App, db: Connection, tmp_path: Path
) -> None:
    program = start("--concurrency", "4", "--poll", "1h")
    [(first, pid)] = begun(db, 1).items()
    ids = app.enqueue_many([their_app["deaf"].spec(str(tmp_path / "deaf"))] * 3)
    program.says("3 threads will not stop")
    program.says(f"worker process {pid} ended with status 1: Worker {first} has ended because 3 of its threads")
    until(db, "count(*) = 1 from pgjobs.workers where supervisor is not null and id <> %s", first, seconds=PATIENCE)
    assert is_gone(pid)
    [id] = app.enqueue_many([their_app["add"].spec(1, 2)])
    assert app.wait_for(id, timeout=PATIENCE) == 3
    for id in ids:
        job = app.job(id)
        assert (job.status, job.attempts, job.crashes, job.errors[0].error) == (pgjobs.Status.READY, 1, 0, "JobTimeout")
    program.process.terminate()
    assert re.search(r"1 died and were replaced: 1 done, 3 failed, 3 threads did not stop\.", program.end())


def test_a_supervisor_takes_little_memory_and_a_worker_imports_nothing_it_does_not_need(
    start: Start, db: Connection
) -> None:
    """Measured: 24 MB, of which Python itself takes 9; and 41 MB for a worker with an empty app."""
    program = start()
    [pid] = begun(db, 1).values()
    assert resident(program.process.pid) < 30
    assert resident(pid) < 45
    assert (
        imported("import sys, pgjobs.supervised", "sqlalchemy", "alembic", "click", "croniter", "pgjobs.cli") == "[]\n"
    )
    by_itself = f"import sys, runpy; runpy.run_path({alone.__file__!r})['stand_in'](); import pgjobs.worker.supervisor"
    assert imported(by_itself, "psycopg", "psycopg_pool", "asyncio", "click", "pgjobs.app", "pgjobs.task") == "[]\n"


def imported(code: str, *names: str) -> str:
    """Which of these modules are there after this code."""
    code = f"{code}; print([name for name in {names!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def resident(pid: int) -> float:
    """Memory that a process takes, in MB."""
    [kilobytes] = re.findall(r"^Rss: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(kilobytes) / 1024


def test_a_supervisor_in_an_application_runs_workers_that_import_the_app(start: Start, app: pgjobs.App) -> None:
    id = app.enqueue_spec(their_app["add"].spec(1, 2))
    code = (
        "from tests.worker.supervised import app; done = app.run_worker(processes=2, drain=True, lease=3600);"
        " print(dict(done.stats))"
    )
    program = start(program=("-c", code))
    assert program.end() == "{'done': 1}\n", program.log
    assert app.job(id).result == 3


def test_an_app_that_workers_could_not_import_is_refused_in_a_sentence(app: pgjobs.App) -> None:
    with pytest.raises(pgjobs.ConfigurationError, match="not a global of an importable module"):
        app.run_worker(["default"], processes=2)
    with pytest.raises(pgjobs.ConfigurationError, match="or more, not -1"):
        their_app.run_worker(["default"], processes=-1)


# Deaths


def test_the_jobs_of_a_worker_that_is_killed_run_in_another_and_it_is_replaced(
    start: Start, app: pgjobs.App, db: Connection, tmp_path: Path
) -> None:
    program = start("--processes", "2")
    before = begun(db, 2)
    id = app.enqueue_spec(their_app["wait"].spec(str(tmp_path / "runs")))
    [(first, _)] = lines(tmp_path / "runs", 1)
    os.kill(first, signal.SIGKILL)
    [_, (second, _)] = lines(tmp_path / "runs", 2)
    assert second != first
    until(db, "count(*) = 2 from pgjobs.workers where supervisor is not null and pid <> %s", first, seconds=PATIENCE)
    assert len(workers(db).keys() - before.keys()) == 1
    until(db, "count(*) = 1 from pgjobs.job_history")
    job = app.job(id)
    assert (job.result, job.run, job.crashes, job.attempts) == (second, 2, 1, 0)
    program.process.terminate()
    assert "1 died and were replaced: 1 done." in program.end()
    assert f"worker process {first} was ended by SIGKILL" in program.log


@pytest.mark.parametrize("task", ["crash", "leave", "cancel_all"])
def test_a_job_that_ends_every_worker_is_a_poison_pill_and_its_neighbours_only_lose_time(
    start: Start, app: pgjobs.App, db: Connection, task: str
) -> None:
    pill = app.enqueue_spec(their_app[task].spec())
    others = app.enqueue_many(their_app["add"].spec(n, 1) for n in range(5))
    program = start("--processes", "2", "--drain", "--concurrency", "1")
    assert "3 died and were replaced" in program.end(), program.log
    job = app.job(pill)
    assert (job.status, job.crashes, job.attempts) == (pgjobs.Status.DEAD, 3, 0)
    assert {app.job(id).status for id in others} == {pgjobs.Status.COMPLETED}


def test_a_worker_that_has_left_but_does_not_end_is_killed_and_replaced(
    start: Start, app: pgjobs.App, db: Connection
) -> None:
    id = app.enqueue_spec(their_app["leave_a_process_behind"].spec())
    program = start()
    [(first, pid)] = begun(db, 1).items()
    until(db, "exists (select from pgjobs.job_history where id = %s)", id, seconds=PATIENCE)
    os.kill(pid, signal.SIGTERM)
    until(db, "count(*) = 1 from pgjobs.workers where supervisor is not null and id <> %s", first, seconds=PATIENCE)
    program.process.terminate()
    program.end()
    assert f"worker process {pid} does not end by itself: killing it" in program.log


def test_ending_a_fork_in_a_handler_does_not_stop_the_worker(start: Start, app: pgjobs.App) -> None:
    id = app.enqueue_spec(their_app["end_a_fork"].spec())
    program = start("--drain", "--processes", "1")
    program.end()
    assert (app.job(id).result, app.job(id).run) == (-signal.SIGTERM, 1)
    assert "stopping" not in program.log


def test_a_handler_cannot_stop_the_event_loop(start: Start, app: pgjobs.App) -> None:
    id = app.enqueue_spec(their_app["stop_the_loop"].spec())
    program = start("--drain")
    program.end()
    assert "a handler stopped the event loop" in program.log
    assert (app.job(id).status, app.job(id).run) == (pgjobs.Status.COMPLETED, 1)


def test_supervisors_side_by_side_leave_each_others_jobs_alone(
    start: Start, app: pgjobs.App, db: Connection, tmp_path: Path
) -> None:
    """For longer than it takes to suspect a worker and to rescue it."""
    paths = [tmp_path / name for name in "abcd"]
    ids = app.enqueue_many(their_app["wait"].spec(str(path)) for path in paths)
    for _ in range(2):
        start("--processes", "2", "--concurrency", "1")
    for path in paths:
        lines(path, 1)
    before = workers(db)
    until(
        db,
        "count(*) = 2 from pg_stat_activity where application_name = 'pgjobs keeper' and datname = current_database()"
        " and query like '%%rescue_v1%%' and query_start > %s::timestamptz + interval '6 s'",
        one(db, "select clock_timestamp()"),
        seconds=PATIENCE,
    )
    assert workers(db) == before
    assert {(app.job(id).run, app.job(id).status) for id in ids} == {(1, pgjobs.Status.RUNNING)}
    assert one(db, "select count(*) from pgjobs.workers where suspected_at is not null") == 0


@pytest.mark.parametrize("task", ["wait", "block", "spin", "grab"])
def test_workers_end_with_their_supervisor_whatever_they_run_and_their_jobs_run_elsewhere(
    start: Start, app: pgjobs.App, db: Connection, tmp_path: Path, task: str
) -> None:
    runs = tmp_path / "runs"
    program, other = start("--processes", "1"), None
    begun(db, 1)
    app.enqueue_spec(their_app[task].spec(str(runs)))
    [(runner, _)] = lines(runs, 1)
    [pid] = workers(db).values()
    other = start("--processes", "1")
    begun(db, 2)
    program.process.kill()
    assert is_gone(pid)
    assert is_gone(runner)
    [_, (successor, _)] = lines(runs, 2)
    assert successor != runner
    assert one(db, "select crashes from pgjobs.all_jobs") == 1
    other.process.kill()
    db.execute("update pgjobs.workers set lapses_at = pgjobs.now()")


def test_a_worker_that_ends_by_itself_is_replaced(start: Start, db: Connection) -> None:
    start()
    [(before, pid)] = begun(db, 1).items()
    os.kill(pid, signal.SIGTERM)
    until(db, "count(*) = 1 from pgjobs.workers where supervisor is not null and id > %s", before, seconds=PATIENCE)


def test_a_worker_that_cannot_begin_ends_its_supervisor_with_the_reason(start: Start, tmp_path: Path) -> None:
    # What `pgjobs worker` looks at before is in order; only in the worker process something is not.
    (tmp_path / "fickle.py").write_text(
        "import sys, pgjobs\napp = pgjobs.App()\n@app.task\ndef work(): ...\n"
        "if 'supervised' in sys.argv[0]: raise RuntimeError('not today')\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from pgjobs.cli import main; main()"
    program = start(program=("-c", code, "worker", "--app", "fickle:app"))
    assert program.end() == ""
    assert program.process.returncode == 1
    assert re.search(
        r"^Error: Importing fickle for the app .* failed: RuntimeError: not today", program.log, re.MULTILINE
    )


def test_a_worker_that_does_not_live_is_replaced_ever_more_slowly_until_one_lives() -> None:
    child = Child(1, ORDERS)
    pauses = []
    for _ in range(12):
        child.again(100.0, over=False)
        at = child.moments()[0]
        assert at is not None
        pauses.append(at - 100.0)
    assert pauses[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert pauses[-2:] == [30, 30]
    began = time.monotonic()
    child.hear('{"worker": 1, "running": 0, "claims_since": null, "stopping": false}')
    child.again(began + 11, over=False)
    assert child.moments()[0] == pytest.approx(began + 11.1)


def test_a_worker_is_not_replaced_before_the_jobs_of_its_predecessor_are_taken_back() -> None:
    child = Child(1, ORDERS)
    assert child.due(time.monotonic())
    child.rescuing = 7
    assert not child.due(time.monotonic())
    assert child.moments() == (None, None)


def test_a_worker_is_replaced_no_more_once_it_is_told_to_stop() -> None:
    child = Child(1, ORDERS)
    child.again(0, over=False)
    child.stop(kill_at=1)
    assert (child.over, child.due(1000), child.moments()) == (True, False, (None, None))


# The lease


def test_a_supervisor_whose_connection_breaks_is_back_before_anybody_thinks_its_workers_lost(
    start: Start, db: Connection
) -> None:
    program = start("--processes", "2")
    before = begun(db, 2)
    supervisor = one(db, "select min(supervisor) from pgjobs.workers")
    db.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgjobs keeper'")
    until(db, "count(*) = 2 from pgjobs.workers where supervisor > %s", supervisor)
    assert workers(db) == before
    assert one(db, "select count(suspected_at) from pgjobs.workers") == 0
    assert one(db, "select count(*) from pgjobs.rescue_v1(10)") == 0
    program.process.terminate()
    program.end()


def test_a_worker_that_was_rescued_though_it_lives_stops_its_jobs_and_begins_anew(
    start: Start, app: pgjobs.App, db: Connection, tmp_path: Path
) -> None:
    program = start()
    [(before, pid)] = begun(db, 1).items()
    id = app.enqueue_spec(their_app["wait"].spec(str(tmp_path / "runs")))
    lines(tmp_path / "runs", 1)
    db.execute("select * from pgjobs.rescue_v1(10, %s)", ([before],))
    program.says("its lease has lapsed, 1 running jobs are no longer its own")
    until(db, "count(*) = 1 from pgjobs.job_history", seconds=PATIENCE)
    job = app.job(id)
    assert (job.run, job.result) == (2, pid)
    [(after, same)] = begun(db, 1).items()
    assert (after > before, same) == (True, pid)
    program.process.terminate()
    program.end()


# Signals


def test_ctrl_c_in_a_terminal_reaches_workers_once(
    start: Start, app: pgjobs.App, db: Connection, tmp_path: Path
) -> None:
    """It is sent to the whole process group; were it to reach a worker twice, its grace would be over."""
    program = start("--processes", "1", "--grace", "1h")
    begun(db, 1)
    id = app.enqueue_spec(their_app["wait"].spec(str(tmp_path / "runs")))
    lines(tmp_path / "runs", 1)
    os.killpg(program.process.pid, signal.SIGINT)
    program.says("stopping: 1 jobs may finish")
    until(db, "running = 1 and stopping from pgjobs.workers")
    assert app.job(id).status is pgjobs.Status.RUNNING
    os.killpg(program.process.pid, signal.SIGINT)
    assert program.end().endswith(": 1 given back.\n")
    assert program.process.returncode == 0
    job = app.job(id)
    assert (job.status, job.crashes, job.attempts) == (pgjobs.Status.READY, 0, 0)


def test_a_worker_that_does_not_end_after_its_grace_is_killed(
    start: Start, app: pgjobs.App, db: Connection, tmp_path: Path
) -> None:
    code = (
        "from pgjobs.worker import supervisor; supervisor.OVERTIME = 0.5;"
        " from tests.worker.supervised import app; app.run_worker(processes=1, grace=0, lease=3600)"
    )
    program = start(program=("-c", code))
    begun(db, 1)
    id = app.enqueue_spec(their_app["grab"].spec(str(tmp_path / "runs")))
    [(pid, _)] = lines(tmp_path / "runs", 1)
    program.process.terminate()
    program.end()
    assert program.process.returncode == 0, program.log
    assert is_gone(pid)
    job = app.job(id)
    assert (job.status, job.crashes) == (pgjobs.Status.READY, 1)
    assert workers(db) == {}
