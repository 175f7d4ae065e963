"""Calling the command line: in this process by `cli`, as a program of its own by `start`."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.conninfo import make_conninfo

from pgjobs.cli import main
from tests.sql.one_database import one_database

database, dsn = one_database()

Cli = Callable[..., Result]
Start = Callable[..., "subprocess.Popen[str]"]
WriteApp = Callable[..., str]

NO_SERVER = "postgresql://postgres@127.0.0.1:1/nothing"
PATIENCE = 30  # seconds after which a program that says nothing is ended, and its test fails


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the test's own, and no settings from outside."""
    for name in ("PGJOBS_DSN", "DATABASE_URL", "PGJOBS_APP", "NO_COLOR", "PYTHONUNBUFFERED"):
        monkeypatch.setenv(name, "")  # so that what a command sets is undone as well
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])  # what is added goes when the test is over


@pytest.fixture
def cli() -> Iterator[Cli]:
    """Call a command: cli("status", "--json"). Standard output and error are apart."""

    def call(*arguments: object, **options: Any) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="pgjobs", **options)

    handlers, level = logging.root.handlers[:], logging.root.level
    yield call
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture
def here(dsn: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test's database, named by the environment."""
    monkeypatch.setenv("PGJOBS_DSN", dsn)
    return dsn


@pytest.fixture(scope="session")
def other_database() -> Iterator[str]:
    """A second database, made once."""
    server = os.environ["PGJOBS_TEST_DSN"]
    name = f"pgjobs_{os.getpid()}_other"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        yield make_conninfo(server, dbname=name)
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def empty(other_database: str) -> str:
    """A database that nobody has migrated."""
    with psycopg.connect(other_database, autocommit=True) as connection:
        connection.execute("set client_min_messages to warning")
        connection.execute("drop schema if exists pgjobs cascade")
    return other_database


@pytest.fixture
def write_app(tmp_path: Path) -> WriteApp:
    """Write a module with an app into the folder: write_app("@app.task\\ndef ..."); returns its path for --app."""

    def write(text: str, name: str = "jobs") -> str:
        (tmp_path / f"{name}.py").write_text(f"import pgjobs\napp = pgjobs.App()\n{text}\n")
        sys.modules.pop(name, None)  # another test's module of this name
        return f"{name}:app"

    return write


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start the program: start("worker", "--drain"). Warnings are errors in it, too."""
    if "dsn" in request.fixturenames:
        request.getfixturevalue("dsn")  # which is to go after the programs that are connected to it
    with ExitStack() as stack:

        def call(*arguments: str, program: tuple[str, ...] = ("-m", "pgjobs"), **options: Any) -> Any:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-W", "error", *program, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONWARNINGS": "error"},
                    **options,
                )
            )
            patience = threading.Timer(PATIENCE, process.kill)
            patience.start()
            stack.callback(patience.cancel)
            stack.callback(process.kill)
            return process

        yield call


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """Read the program's log up to a line with this text: what it says is what we wait for."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return line
    raise AssertionError(f"it ended without saying {text!r}:\n{''.join(seen)}")
