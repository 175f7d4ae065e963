"""Runs the code blocks of a page as a reader would: in order, in one folder, against one real database."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.docs.blocks import RUNNABLE, Block, commands

HERE = Path(__file__).parent
PATIENCE = 60  # seconds for one block; what takes longer is ended, and its test fails
_DSN = re.compile(r"postgres(ql)?(?P<driver>\+\w+)?://[^\s'\"`|\\]+")


class Page:
    """A folder, a database, a Python session and a shell's environment, which the blocks of one page share."""

    def __init__(self, folder: Path, dsn: str, before: str = "") -> None:
        self.folder = folder
        self._before = before  # Python that every session of the page begins with
        # Pages name databases that their readers have: here each is the test's own.
        part = conninfo_to_dict(dsn)
        self.dsn = (
            f"postgresql://{part['user']}:{part.get('password') or ''}@{part['host']}:{part['port']}/{part['dbname']}"
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PG", "DATABASE_URL"))},
            "PGJOBS_DSN": self.dsn,
            "PGJOBS_TEST_DSN": os.environ["PGJOBS_TEST_DSN"],  # where pages about testing make their databases
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PAGE_PORT": str(self.port),
            "PYTHONDONTWRITEBYTECODE": "1",  # a file that a page writes twice within a second is read anew
            **{f"PG{name.upper()}": str(part[key]) for name, key in _PSQL.items() if part.get(key)},
        }
        self._python: subprocess.Popen[str] | None = None

    def run(self, block: Block) -> str:
        """Run a block and return what it printed. Raises AssertionError with the whole story when it fails."""
        if block.language not in RUNNABLE and block.file is None:
            return ""
        text = self._here(block.text)
        if block.file is not None:
            path = self.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            self.end_python()  # a session that has imported the file knows the old one
            return ""
        if block.language == "python":
            return self.python(text, block.place)
        if block.language == "sql":
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                connection.execute(text.encode())
            return ""
        return self.shell(commands(text) if block.language == "console" else text, block.place)

    def python(self, code: str, place: str) -> str:
        """Run Python in the page's session."""
        if self._python is None:
            with (self.folder / "page.log").open("a") as log:
                self._python = subprocess.Popen(
                    [sys.executable, str(HERE / "python_session.py")], cwd=self.folder, env=self.environment, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                )  # fmt: skip
            if self._before:
                self.python(self._before, "before the page")
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        with self._in_time(self._python):
            self._python.stdin.write(json.dumps({"code": code, "name": place}) + "\n")
            self._python.stdin.flush()
            answer = self._python.stdout.readline()
        error = json.loads(answer) if answer else f"the session ended:\n{self._log()}"
        assert error is None, f"{place}: {error}"
        return self._log()

    def shell(self, commands: str, place: str) -> str:
        """Run shell commands; what they export stays for the next block."""
        kept = self.folder / "page.env"
        script = f". {HERE / 'shell.sh'}\n{commands}\nenv -0 >{kept}\n"
        with subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script], cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process, self._in_time(process):  # fmt: skip
            out, _ = process.communicate()
        assert process.returncode == 0, f"{place}: the shell ended with {process.returncode}:\n{out}"
        self.environment |= dict(entry.split("=", 1) for entry in kept.read_text().split("\0") if "=" in entry)
        return out

    def end_python(self) -> None:
        """End the Python session; the next block begins another."""
        if self._python is not None:
            assert self._python.stdin is not None
            self._python.stdin.close()
            with self._in_time(self._python):
                self._python.wait()
            assert self._python.stdout is not None
            self._python.stdout.close()
            self._python = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.end_python()
        with suppress(FileNotFoundError):
            for pid in (self.folder / "page.pids").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGTERM)

    def _here(self, text: str) -> str:
        """Put the test's database and port where the page names the reader's."""
        text = _DSN.sub(lambda match: self.dsn.replace("postgresql", f"postgresql{match['driver'] or ''}", 1), text)
        return re.sub(r"\b(localhost|127\.0\.0\.1):8000\b", f"127.0.0.1:{self.port}", text)

    def _log(self) -> str:
        return (self.folder / "page.log").read_text()

    @contextmanager
    def _in_time(self, process: subprocess.Popen[str]) -> Iterator[None]:
        patience = threading.Timer(PATIENCE, process.kill)
        patience.start()
        try:
            yield
        finally:
            patience.cancel()


_PSQL = {"host": "host", "port": "port", "user": "user", "password": "password", "database": "dbname"}
