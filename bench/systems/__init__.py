"""The systems that are compared: what each is, and the registry of them. Each has a package here, with its program."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FIRST = ("pgjobs", "bare")  # the others follow by name


@dataclass(frozen=True)
class System:
    """What the harness must know of a system; its program, in the same folder, knows the rest."""

    name: str
    kind: Literal["postgresql", "redis"]
    language: Literal["python", "node"]
    # Pinned, as pip and npm take them ("procrastinate==3.10.0"); "node==22" is the Node that runs the program, by npm.
    # None at all: the program runs in the environment of the bench itself.
    requirements: tuple[str, ...]
    # Whether finished jobs are kept: each way that it has. (False,), (True,) or (False, True).
    keeps: tuple[bool, ...]
    executors: tuple[str, ...]  # what `work --executor` takes; the first is its best; none: it has no choice of them
    settings: str  # the documented settings that are used, and where they are from
    promises: str  # what it promises in this setting, and what it does not
    takes: frozenset[str]  # of "delay", "priority", "queues", "stamps", "ms", "bulk", "clients", "processes"
    left: str | None = None  # SQL: whether a job is unfinished, one boolean; None: only the handlers are counted
    by_sql: str | None = None  # its statement that enqueues a job, with %s for the payload, where it documents one
    python: str | None = None  # "3.12"; None: the version that runs the bench

    @property
    def folder(self) -> Path:
        """Where its program is."""
        return Path(__file__).parent / self.name.replace("-", "_")

    @property
    def program(self) -> Path:
        """Its program."""
        return self.folder / ("program.py" if self.language == "python" else "program.mjs")


def systems() -> dict[str, System]:
    """All systems by name: pgjobs, the bare database, then the peers. Each package has its own as SYSTEM."""
    packages = sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg)
    known: dict[str, System] = {}
    for package in packages:
        system = importlib.import_module(f"{__name__}.{package}").SYSTEM
        if not isinstance(system, System):
            raise TypeError(f"bench.systems.{package}.SYSTEM is no System")
        known[system.name] = system
    order = [name for name in FIRST if name in known] + [name for name in known if name not in FIRST]
    return {name: known[name] for name in order}
