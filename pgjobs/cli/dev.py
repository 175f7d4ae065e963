"""`pgjobs dev`: a PostgreSQL of one's own, its schema, and a worker that starts anew when the code changes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import click
from psycopg.conninfo import conninfo_to_dict

from pgjobs import schema, settings
from pgjobs.cli import project
from pgjobs.cli.durations import DURATION
from pgjobs.cli.target import Command, Target, pass_target
from pgjobs.embedded import EmbeddedPostgres
from pgjobs.errors import ConfigurationError
from pgjobs.texts import ended

FOLDER = ".pgjobs"
TICK = 0.2  # seconds after which we look whether the private server still runs
KEPT_BY_ROOT = Path("/var/lib/pgjobs")  # for root's projects in a folder that nobody else may enter


@click.command(cls=Command)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help=f"Where a private PostgreSQL keeps its data, even if a database is named. Default: {FOLDER} beside pyproject.toml.",
)
@click.option("--queue", "queues", multiple=True, metavar="QUEUE", help="Default: the queues of the app's tasks.")
@click.option("--concurrency", type=click.IntRange(1, 10_000), help="Jobs at a time.")
@click.option(
    "--grace",
    type=DURATION,
    default="5s",
    show_default=True,
    help="How long running jobs may finish when the code changes.",
)
@pass_target
def dev(target: Target, data: Path | None, queues: tuple[str, ...], concurrency: int | None, grace: timedelta) -> None:
    """Run all that development needs: a database, its schema, and a worker that follows your code.

    Without a database named anywhere a private PostgreSQL is started, which keeps its data from one time to the next,
    and the DSN is shown for the other terminal. When a Python file changes, the worker starts anew. ^C stops it all.

    \b
    Examples:
      pgjobs dev --app shop.jobs:app
      pgjobs dev --app shop.jobs:app --data /tmp/shop
      pgjobs dev --dsn postgresql:///shop
    """
    if data is not None and target.dsn is not None:
        raise click.UsageError("--data is of a private database, and --dsn names another: give one of them.")
    watch = _watch()
    path = settings.app_path(target.app)
    orders = {
        "dsn": target.dsn, "app": target.app, "debug": target.debug,
        "queues": queues, "concurrency": concurrency, "grace": grace.total_seconds(),
    }  # fmt: skip
    with _stopping() as stop, _database(target, data) as database:
        dsn = database.dsn
        done = schema.migrate(dsn)
        _say(f"The schema pgjobs is at revision {done.after}.")
        if path is None:
            _say("No app is named, so no worker runs: `pgjobs init` makes one, or give --app package.module:app.")
            while not stop.asked.wait(TICK):
                database.keep_up()
            return
        worker = _Worker(json.dumps(orders), os.environ | {"PGJOBS_DSN": dsn}, stop)
        stop.again = worker.hurry
        try:
            for changed in watch(project.root(), stop.asked):
                database.keep_up()
                if changed:
                    _say(f"{changed} changed: the worker starts anew.")
                    worker.end()
                if changed or not worker.started:
                    worker.start()
        finally:
            if database.is_gone:
                worker.kill()  # it would wait for the database, to write what became of its jobs
            worker.end()


class _Database:
    """The database that is named, or that of a private server."""

    def __init__(self, dsn: str, server: EmbeddedPostgres | None = None) -> None:
        self.dsn = dsn
        self._server = server

    @property
    def is_gone(self) -> bool:
        """Whether it was the private one, and has ended."""
        return self._server is not None and self._server.has_ended

    def keep_up(self) -> None:
        """Start the private server again if it has ended. Raises EmbeddedPostgresError when it cannot be."""
        if self._server is not None and self.is_gone:
            _say("The private PostgreSQL has ended: it is started again.")
            self._server.start_again()
            _say("The private PostgreSQL runs again, under the same DSN.")


@contextmanager
def _database(target: Target, data: Path | None) -> Iterator[_Database]:
    """Lend the database that is named, or else a private one."""
    dsn = settings.find_dsn(target.dsn)
    if dsn is not None and data is None:
        part = conninfo_to_dict(dsn)
        _say(f"The database is the one that was named: {part.get('dbname', '')} on {part.get('host', 'this machine')}.")
        yield _Database(dsn)
        return
    folder = _folder(data)
    with _alone_in(folder) as running:
        port = folder / "port"
        server = EmbeddedPostgres(folder / "postgres", port=_number(port))
        with server:
            port.write_text(str(conninfo_to_dict(server.dsn)["port"]))
            running.write_text(f"{os.getpid()} {server.dsn}")
            _say(f"No database was named, so a private PostgreSQL runs; its data stay in {folder}.")
            click.echo(f"export PGJOBS_DSN={server.dsn}")
            yield _Database(server.dsn, server)
            _say("PostgreSQL stops; its data stay.")


def _folder(given: Path | None) -> Path:
    """Make the folder that keeps the data, out of version control."""
    folder = (given or project.root() / FOLDER).resolve()
    try:
        if os.geteuid() == 0 and not _others_may_enter(folder):
            # The server runs as somebody else than root, who could not get at it there; nobody's permissions are changed.
            name = f"{folder.parent.name}-{hashlib.sha256(bytes(folder)).hexdigest()[:12]}"
            folder = KEPT_BY_ROOT / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot hold the data ({error.strerror}): give another folder by --data."
        ) from error
    return folder


def _others_may_enter(folder: Path) -> bool:
    return all(place.stat().st_mode & 0o001 for place in (folder, *folder.parents) if place.exists())


@contextmanager
def _alone_in(folder: Path) -> Iterator[Path]:
    """Hold the folder, and lend the file in which those who come second read who was first."""
    path = folder / "running"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid, _, dsn = path.read_text().partition(" ")
        os.close(descriptor)
        where = f" Its database: export PGJOBS_DSN={dsn}" if dsn else ""
        raise ConfigurationError(
            f"`pgjobs dev` runs on {folder} already (process {pid or 'unknown'}): use that, or end it by ^C.{where}"
        ) from None
    try:
        os.truncate(descriptor, 0)
        yield path
    finally:
        os.truncate(descriptor, 0)
        os.close(descriptor)


def _number(path: Path) -> int | None:
    """Return the port of the last time, so that the DSN stays what it was."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


class _Stop:
    """Whether the program is asked to stop, and what to do when it is asked again."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.again: Callable[[], None] = lambda: None


@contextmanager
def _stopping() -> Iterator[_Stop]:
    """Lend what SIGINT and SIGTERM set."""
    stop = _Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.asked.is_set():
            stop.again()
        stop.asked.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch() -> Any:
    """Return a function that yields what changed in a folder, until it is to stop, and now and then that nothing did.

    From the first yield on every change is seen.
    """
    try:
        from watchfiles import PythonFilter, watch
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "`pgjobs dev` needs packages that are not installed: pip install 'pgjobs[dev]'."
        ) from error

    def changes(folder: Path, stop: threading.Event) -> Iterator[str]:
        for changed in watch(
            folder,
            watch_filter=PythonFilter(),
            stop_event=stop,
            raise_interrupt=False,
            rust_timeout=int(TICK * 1000),
            yield_on_timeout=True,
        ):
            if not changed:
                yield ""
                continue
            first = Path(min(path for _, path in changed))
            yield str(first.relative_to(folder)) if first.is_relative_to(folder) else str(first)

    return changes


class _Worker:
    """The worker's process: started anew at every change, so that nothing of the old code stays."""

    def __init__(self, orders: str, environment: dict[str, str], stop: _Stop) -> None:
        self._orders = orders
        self._environment = environment
        self._stop = stop
        self._ending: subprocess.Popen[str] | None = None
        self._process: subprocess.Popen[str] | None = None

    @property
    def started(self) -> bool:
        """Whether it was started; it may have ended since."""
        return self._process is not None

    def start(self) -> None:
        # In a session of its own: ^C in the terminal is for us, and we stop it in order.
        command = [sys.executable, "-m", "pgjobs.cli.dev_worker"]
        process = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it is gone already, and has said why
            process.stdin.write(self._orders + "\n")
            process.stdin.flush()
        self._process = process
        threading.Thread(target=self._tell_its_end, args=[process], daemon=True).start()

    def end(self) -> None:
        """Let the worker stop as at any stop, within its grace."""
        process, self._process = self._process, None
        if process is not None:
            self._ending = process
            process.terminate()
            process.wait()
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()

    def kill(self) -> None:
        """End the worker at once; its jobs are taken back when the database is there again."""
        if self._process is not None:
            self._process.kill()

    def hurry(self) -> None:
        """Cut the stop short that is under way."""
        if self._ending is not None:
            self._ending.terminate()

    def _tell_its_end(self, process: subprocess.Popen[str]) -> None:
        status = process.wait()
        if self._process is process and not self._stop.asked.is_set():
            _say(f"The worker {ended(status)}; it starts again when a file changes.")


def _say(text: str) -> None:
    click.secho(text, err=True, dim=True)
