"""A system ready for one run: an empty database of its own (or an emptied Redis), and its program to be started there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from bench import counters, meters, server
from bench.environments import Environment, prepare
from bench.running import Crew, Failed, Program, crew
from bench.systems import System

Options = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """One system, ready to be measured."""

    system: System
    environment: Environment
    url: str
    db: psycopg.Connection[Any] | None  # of the harness, on the system's database
    server: int | None  # the server's process
    log: Path | None  # the PostgreSQL server's
    folder: Path  # for the files of this run

    def start(self, verb: str, **options: Any) -> Program:
        """Start its program; to be used in a `with` block, after which it has ended."""
        return Program(self.environment, [verb, *flags(options)], self.url)

    def call(self, verb: str, limit: float = 300, **options: Any) -> dict[str, Any]:
        """Run its program to the end and return what it said."""
        with self.start(verb, **options) as program:
            return program.finish(limit)

    @contextmanager
    def workers(self, processes: int = 1, **options: Any) -> Iterator[Crew]:
        """Run so many worker processes: one program each, or one that looks after them where that is its way."""
        if "processes" in self.system.takes:
            each = [["work", "--processes", str(processes), *flags(options)]]
        else:
            each = [["work", *flags(mine)] for mine in self._apart(processes, options)]
        with crew(self.environment, each, self.url) as working:
            yield working

    def _apart(self, processes: int, options: Options) -> Iterator[Options]:
        for number in range(processes):
            if options.get("stamps") and processes > 1:
                yield options | {"stamps": f"{options['stamps']}.{number}"}
            else:
                yield options

    def fill(self, count: int, limit: float = 600, **options: Any) -> dict[str, Any]:
        """Enqueue jobs by its bulk way, or by clients where it has none; then see to it that the planner knows of them."""
        if "bulk" in self.system.takes:
            said = self.call("bulk", limit, count=count, **options)
        else:
            clients = 8 if "clients" in self.system.takes else 1
            said = self.call("enqueue", limit, count=count, clients=clients, **options)
        if self.db is not None:
            self.db.execute("analyze")
        return said

    def beside(self) -> psycopg.Connection[Any]:
        """Another connection of the harness to the system's database."""
        return psycopg.connect(self.url, autocommit=True, application_name="bench")

    def counters(self) -> counters.Counters | None:
        """What the server has counted, once nobody else is connected; None of a Redis."""
        if self.db is None:
            return None
        counters.wait_alone(self.db)
        return counters.read(self.db, self.server)

    def server_cpu(self) -> float | None:
        """Seconds of CPU of the server until now; None if it is not ours."""
        return meters.cpu_of_server(self.server) if self.server else None

    def wait_settled(self, limit: float) -> None:
        """Wait until no job is unfinished, where that can be asked."""
        if self.db is None or self.system.left is None:
            return
        ends = time.monotonic() + limit
        while self.db.execute(self.system.left.encode()).fetchone() != (False,):
            if time.monotonic() > ends:
                raise Failed(f"All handlers had started, but jobs were unfinished after {limit:.0f} s.")
            time.sleep(0.02)  # between two looks


@dataclass
class Stages:
    """Makes stages: it keeps the servers, the environments, and a database of each system to copy."""

    postgres: server.Postgres
    folder: Path
    stack: ExitStack  # what ends with the bench
    _redis: server.Redis | None = None
    _environments: dict[str, Environment] = field(default_factory=dict)
    _templates: set[str] = field(default_factory=set)

    @contextmanager
    def stage(self, system: System) -> Iterator[Stage]:
        """Give the system a fresh database; it is dropped afterwards."""
        environment = self._environments.get(system.name) or prepare(system)
        self._environments[system.name] = environment
        if system.kind == "redis":
            yield self._on_redis(system, environment)
            return
        name = f"bench_{system.name.replace('-', '_')}"
        if system.name not in self._templates:
            self.postgres.create(f"{name}_template")
            self.stack.callback(self.postgres.drop, f"{name}_template")
            with Program(environment, ["install"], self.postgres.url(f"{name}_template")) as program:
                program.finish(120)
            self._templates.add(system.name)
        self.postgres.create(name, f"{name}_template")
        try:
            with self.postgres.connect(name) as db:
                # From here on no page is written whole into the WAL for being the first after a checkpoint.
                db.execute("checkpoint")
                yield Stage(
                    system, environment, self.postgres.url(name), db, self.postgres.pid, self.postgres.log, self.folder
                )
        finally:
            self.postgres.drop(name)

    def _on_redis(self, system: System, environment: Environment) -> Stage:
        if self._redis is None:
            self._redis = self.stack.enter_context(server.redis())
        self._redis.ask("FLUSHALL")
        with Program(environment, ["install"], self._redis.url) as program:
            program.finish(120)
        return Stage(system, environment, self._redis.url, None, self._redis.pid, None, self.folder)


def flags(options: Options) -> Sequence[str]:
    """Options as the programs take them; those that are None or False are left out."""
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    return [
        part
        for name, value in given.items()
        for part in ([f"--{name}"] if value is True else [f"--{name}", str(value)])
    ]
