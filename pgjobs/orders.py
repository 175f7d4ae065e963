"""What a supervisor is told at its start, and what it tells its workers."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Log = tuple[str, Literal["text", "json"]]  # level and format
STOPS = (signal.SIGTERM, signal.SIGINT)  # what asks a supervisor to stop


@dataclass(frozen=True, slots=True)
class Orders:
    """The orders of a supervisor, and of each of its workers.

    app: where the app is, package.module:name. options: of every worker, as run_worker takes them, in seconds; lease,
    grace and drain are repeated as they were understood. log: level and format, or None if nobody is to configure it.
    path: where modules are looked for. named_by: who named the app. environment: what is to be set in it. look: nobody
    has looked yet whether app and options are in order; the first worker does, tells which database it is if dsn is
    empty, and what is wrong, with a traceback if `debug`. ahead: process and line of that worker, begun before its
    supervisor.
    """

    dsn: str
    app: str
    processes: int
    options: Mapping[str, Any]
    lease: float
    grace: float
    drain: bool
    log: Log | None
    path: list[str]
    named_by: str = "the supervisor"
    environment: Mapping[str, str] = field(default_factory=dict)
    look: bool = False
    debug: bool = False
    ahead: tuple[int, int] | None = None

    def of_worker(self, slot: int) -> Orders:
        """Return the orders of the worker in a place; the places count from 1."""
        name = self.options.get("name")
        if name and self.processes > 1:
            name = f"{name}-{slot}"
        return replace(
            self, processes=0, options={**self.options, "name": name}, look=self.look and slot == 1, ahead=None
        )

    def dump(self) -> str:
        """As one line."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, line: str) -> Orders:
        """From that line."""
        return cls(**json.loads(line))
