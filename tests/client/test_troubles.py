"""What cannot work says so: at once, in one sentence, as an error of ours."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgjobs
from tests.client.conftest import Face

Connection = psycopg.Connection[Any]
Task = pgjobs.Task[..., Any]
Lost = Callable[[str], Callable[[], Any]]


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def told(kind: type[pgjobs.PgjobsError], text: str, within: float = 5.0) -> Iterator[pytest.ExceptionInfo[Any]]:
    """What is inside raises this, in one sentence, and soon."""
    began = time.monotonic()
    with pytest.raises(kind, match=text) as error:
        yield error
    assert time.monotonic() - began < within
    sentence = str(error.value)
    assert "\n" not in sentence
    assert sentence[0].isupper()
    assert sentence.endswith(".")


@pytest.fixture
def lost(face: Face) -> Iterator[Lost]:
    """Make an app on another DSN, and a function: called again and again it does one thing after another with it."""
    apps: list[pgjobs.App] = []

    def lost(dsn: str) -> Callable[[], Any]:
        app = pgjobs.App(dsn)
        apps.append(app)

        @app.task
        def read_letter(letter_id: int) -> None: ...

        calls: Iterator[Callable[[], Any]] = iter(
            [
                lambda: face.enqueue(read_letter, letter_id=7),
                lambda: face.enqueue_many(app, [read_letter.spec(letter_id=7)]),
                lambda: face.job(app, 1),
            ]
        )
        return lambda: next(calls)()

    yield lost
    for app in apps:
        face.close_app(app)


@pytest.mark.parametrize(
    ("dsn", "why"),
    [
        ("host=nowhere.invalid", "failed to resolve host 'nowhere.invalid'"),
        ("host=a..b", "encoding with 'idna' codec failed"),
        ("host=/nowhere", 'connection to server on socket "/nowhere/.s.PGSQL.5432" failed: No such file'),
        ("host=localhost port=99999", 'invalid port number: "99999"'),
        ("host=localhost sslmode=letters", 'invalid sslmode value: "letters"'),
        (f"host=127.0.0.1,localhost port={closed_port()}", "connection to server at .* failed: Connection refused"),
    ],
    ids=["name", "odd name", "socket", "port", "sslmode", "closed"],
)
def test_a_place_where_no_server_can_be_is_told(lost: Lost, dsn: str, why: str) -> None:
    with told(pgjobs.ConnectionFailed, f"^The database cannot be reached: {why}"):
        lost(dsn)()


@pytest.mark.parametrize(
    ("dsn", "unknown"),
    [
        ("mysql://letters:s3cret@db.example/letters", r" \(it is for mysql, and pgjobs needs PostgreSQL\)"),
        ("sqlite:///letters.db", r" \(it is for sqlite, and pgjobs needs PostgreSQL\)"),
        ("user=letters password=my s3cret", ""),
        ("s3cret", ""),
        ("postgresql://localhost/db?letters=7", r' \(invalid URI query parameter: "letters"\)'),
        ("host=localhost connect_timeout=soon", r" \(bad value for connect_timeout: 'soon'\)"),
        ("host=localhost letters=7", r' \(invalid connection option "letters"\)'),
    ],
)
def test_a_wrong_dsn_is_told_without_its_secrets(face: Face, lost: Lost, dsn: str, unknown: str) -> None:
    call = lost(dsn)
    for _ in range(3):
        with told(
            pgjobs.ConnectionFailed, f"^The DSN cannot be read{unknown}: it must look like postgresql://"
        ) as error:
            call()
        assert "s3cret" not in "".join(traceback.format_exception(error.value))


def test_a_password_with_a_slash_that_was_not_encoded_is_not_told_either(lost: Lost) -> None:
    with told(pgjobs.ConnectionFailed, "^The (database cannot be reached|DSN cannot be read)") as error:
        lost("postgresql://user:s3/cret@host/db")()
    assert "s3" not in str(error.value)


def test_a_server_that_is_down_is_told_at_once_and_every_time(face: Face, lost: Lost) -> None:
    port = closed_port()
    call = lost(f"postgresql://postgres@127.0.0.1:{port}/letters")
    for _ in range(3):
        with told(
            pgjobs.ConnectionFailed, f"^The database cannot be reached: connection to server at .*{port}.*refused"
        ):
            call()


def test_a_host_that_never_answers_is_told_within_the_connect_timeout(face: Face, lost: Lost) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        call = lost(f"host=127.0.0.1 port={listener.getsockname()[1]} connect_timeout=1")
        with told(pgjobs.ConnectionFailed, "^The database cannot be reached: connection timeout expired"):
            call()


def test_a_database_that_does_not_exist_is_told(face: Face, dsn: str, lost: Lost) -> None:
    call = lost(make_conninfo(dsn, dbname="nowhere"))
    for _ in range(3):
        with told(pgjobs.ConnectionFailed, '^The database cannot be reached: .*database "nowhere" does not exist'):
            call()


def test_a_role_that_does_not_exist_is_told(face: Face, dsn: str, lost: Lost) -> None:
    with told(pgjobs.ConnectionFailed, "^The database cannot be reached: .*(nobody|authentication)"):
        lost(make_conninfo(dsn, user="nobody"))()


def test_a_database_without_the_schema_is_told_with_what_to_do(face: Face, empty_dsn: str, lost: Lost) -> None:
    call = lost(empty_dsn)
    for _ in range(3):
        with told(pgjobs.SchemaMissing, "^There is no pgjobs schema in this database, .*run `pgjobs migrate`"):
            call()


def test_a_schema_that_is_too_old_is_told_with_what_to_do(
    face: Face, own_database: None, app: pgjobs.App, task: Task, db: Connection
) -> None:
    db.execute("alter function pgjobs.enqueue_v1 rename to enqueue_v0")
    db.execute("alter function pgjobs.enqueue_many_v1 rename to enqueue_many_v0")
    for tx in (None, face.connect()):
        with told(pgjobs.SchemaTooOld, "lacks a function that this pgjobs calls: run `pgjobs migrate`"):
            face.enqueue(task.options(tx=tx), letter_id=7)
    with told(pgjobs.SchemaTooOld, "lacks a function that this pgjobs calls: run `pgjobs migrate`"):
        face.enqueue_many(app, [task.spec(letter_id=7)])


def test_a_trouble_of_the_callers_own_is_left_as_it_is(
    face: Face, own_database: None, task: Task, db: Connection
) -> None:
    db.execute("""
        create function copy_letter() returns trigger language plpgsql as
            $$ begin insert into letters values (new.id); return new; end $$;
        create trigger copy_letter before insert on pgjobs.jobs for each row execute function copy_letter()
    """)
    for tx in (None, face.connect()):
        with pytest.raises(psycopg.errors.UndefinedTable, match='relation "letters" does not exist'):
            face.enqueue(task.options(tx=tx), letter_id=7)


def test_without_any_dsn_the_error_names_the_ways_to_give_one(
    face: Face, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("PGJOBS_DSN", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    app = pgjobs.App()

    @app.task
    def read_letter() -> None: ...

    with told(pgjobs.ConfigurationError, "^No database was named. .*PGJOBS_DSN"):
        face.enqueue(read_letter)


def test_a_server_that_comes_back_is_used_again_at_once(face: Face, dsn: str, lost: Lost) -> None:
    # The server is "down" while nobody listens on the port, and "back" when something there passes all on to it.
    port = closed_port()
    server = conninfo_to_dict(dsn)
    call = lost(make_conninfo(dsn, host="127.0.0.1", port=port))
    with told(pgjobs.ConnectionFailed, "refused"):
        call()
    with passing_on(port, int(server["port"] or 5432)):
        call()


@contextmanager
def passing_on(port: int, to: int) -> Iterator[None]:
    """Let a server answer on another port."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError), source, sink:
            while data := source.recv(65536):
                sink.sendall(data)

    def serve() -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", to))
                for ends in ((far.dup(), near.dup()), (near, far)):
                    threading.Thread(target=pump, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", port)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield
