"""The servers that are measured on: one PostgreSQL with fsync on, of our own or one that is named, and one Redis."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bench.running import Failed
from pgjobs.embedded import EmbeddedPostgres

SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "log_line_prefix": "[%d] ",  # the statements of one database are counted in the log
    "track_io_timing": "off",
}
# Durable as PostgreSQL is: each write is on the disk before its reply.
REDIS_SETTINGS = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--loglevel", "warning")


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL on which databases can be made; pid and log are those of a server of our own."""

    dsn: str
    pid: int | None
    log: Path | None

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        known = conninfo_to_dict(self.dsn)
        word = f":{quote(str(known['password']), safe='')}" if known.get("password") else ""
        user, host = (
            quote(str(known.get("user", "postgres")), safe=""),
            quote(str(known.get("host", "127.0.0.1")), safe=""),
        )
        return f"postgresql://{user}{word}@{host}:{known.get('port', 5432)}/{database}"

    def connect(self, database: str | None = None) -> psycopg.Connection[Any]:
        """Connect, by default to where databases are made."""
        return psycopg.connect(self.url(database) if database else self.dsn, autocommit=True, application_name="bench")

    def create(self, database: str, template: str | None = None) -> None:
        """Make a database, in place of one of that name."""
        copied = sql.SQL(" template {}").format(sql.Identifier(template)) if template else sql.SQL("")
        with self.connect() as db:
            self.drop(database)
            db.execute(sql.SQL("create database {}").format(sql.Identifier(database)) + copied)

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
        with self.connect() as db:
            db.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(database)))

    def settings(self) -> dict[str, str]:
        """Its version, and the settings that are not PostgreSQL's own defaults."""
        with self.connect() as db:
            rows = db.execute(
                "select name, current_setting(name) from pg_settings where source not in ('default', 'override', 'client')"
                " and name !~ '^(lc_|log_|TimeZone|default_text|DateStyle|port|listen|unix)' order by name"
            ).fetchall()
            return {"version": str(db.info.server_version), **dict(rows)}


@contextmanager
def postgres(dsn: str | None) -> Iterator[Postgres]:
    """Start a PostgreSQL, or take the one at this DSN, on whose databases of other names nothing is done."""
    if dsn is not None:
        yield Postgres(dsn, None, None)
        return
    with EmbeddedPostgres(settings=SETTINGS) as own:
        yield Postgres(own.dsn, own.pid, own.folder / "log")


@dataclass(frozen=True)
class Redis:
    """A Redis of our own."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def ask(self, command: str) -> bytes:
        """Send one command without arguments, and return the beginning of the reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(64)


@contextmanager
def redis() -> Iterator[Redis]:
    """Start a Redis that writes through to the disk."""
    program = shutil.which("redis-server")
    if program is None:
        raise Failed("There is no redis-server here: install it (Debian: redis-server).")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-redis-"))
        port = free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, *REDIS_SETTINGS]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        stack.callback(end, process)
        server = Redis(port, process.pid)
        ends = time.monotonic() + 30
        while True:
            try:
                if server.ask("PING").startswith(b"+PONG"):
                    break
            except OSError:
                pass
            if process.poll() is not None or time.monotonic() > ends:
                raise Failed("redis-server did not start.")
            time.sleep(0.02)  # there is nothing to wait on but the port
        yield server


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a server in order, or else."""
    process.terminate()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
