"""Upkeep that every worker does and no leader: bounded sweeps, safe when all do them at once (I12)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from pgjobs.client import Client

log = logging.getLogger("pgjobs.worker")


@dataclass(slots=True)
class Rescue:
    """Takes back the jobs of workers whose lease has lapsed."""

    client: Callable[[], Client]
    limit: int = 500

    def step(self) -> int:
        """Rescue up to `limit` jobs and return how many."""
        rescued, dead = self.client().rescue(self.limit)
        if rescued or dead:
            log.warning("rescued %d jobs of lost workers; %d more crashed too often and are dead", rescued, dead)
        return rescued + dead


@dataclass(slots=True)
class Resume:
    """Takes the jobs of resumed tasks out of their lines again."""

    client: Callable[[], Client]
    limit: int = 1000

    def step(self) -> int:
        """Take back up to `limit` jobs and return how many."""
        return self.client().resume_tasks(self.limit)


@dataclass(slots=True)
class Prune:
    """Empties the next slot of the history ring before its turn comes."""

    client: Callable[[], Client]
    limit: int = 2  # one slot is all there is to do

    def step(self) -> int:
        """Empty the slot and return whether there was something in it."""
        return int(self.client().prune())
