"""The slots of a worker: how many jobs may run at a time, in all or for each executor, and what may be claimed for them.

A claim knows queues and not executors. A worker with slots of several kinds must not hoard jobs that it cannot run, so it
claims no more than what surely fits: only from queues all of whose executors have a free slot, and of those no more than
the executor with the fewest has free. Which executors a queue needs is known from the tasks that name it, and learned from
the jobs that come. A job that does not fit all the same is held for a moment, and then given back uncounted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pgjobs.task import ExecutorName, Task

EXECUTORS: tuple[ExecutorName, ...] = get_args(ExecutorName)


@dataclass(slots=True, eq=False)
class _Pool:
    size: int
    used: int = 0


@dataclass(slots=True)
class Room:
    """What may be claimed now: so many jobs, and not from these queues."""

    limit: int
    closed: frozenset[str] = frozenset()


class Slots:
    """Slots by executor; with one number for all, they share them."""

    def __init__(
        self,
        concurrency: int | Mapping[ExecutorName, int],
        queues: tuple[str, ...],
        tasks: Mapping[str, Task[Any, Any]],
    ) -> None:
        self.shared = isinstance(concurrency, int)  # whether any free slot is one for every executor
        if isinstance(concurrency, int):
            shared = _Pool(concurrency)
            self._pools = dict.fromkeys(EXECUTORS, shared)
        else:
            # One slot for what nobody counts on: a job that comes astray is run.
            self._pools = {executor: _Pool(concurrency.get(executor, 1)) for executor in EXECUTORS}
        self.total = concurrency if isinstance(concurrency, int) else sum(concurrency.values())
        self._needs: dict[str, set[ExecutorName]] = {queue: set() for queue in queues}
        for task in tasks.values():
            if task.options_.queue in self._needs:
                self._needs[task.options_.queue].add(task.options_.executor)
        known = {executor for needs in self._needs.values() for executor in needs} or {"thread"}
        for needs in self._needs.values():
            needs |= needs or known

    def room(self) -> Room:
        """Return what may be claimed."""
        if self.shared:
            pool = self._pools["async"]
            return Room(pool.size - pool.used)
        free = {executor: pool.size - pool.used for executor, pool in self._pools.items()}
        fits = {queue: min(free[executor] for executor in needs) for queue, needs in self._needs.items()}
        return Room(
            min((limit for limit in fits.values() if limit > 0), default=0),
            frozenset(queue for queue, limit in fits.items() if limit <= 0),
        )

    def take(self, queue: str, executor: ExecutorName) -> bool:
        """Take a slot for a job of this queue, if there is one."""
        pool = self._pools[executor]
        if pool.used >= pool.size:
            self._needs[queue].add(executor)
            return False
        pool.used += 1
        return True

    def give_back(self, executor: ExecutorName) -> bool:
        """Free a slot; return whether it was the last one, and queues may have been closed for want of it."""
        pool = self._pools[executor]
        pool.used -= 1
        return pool.used == pool.size - 1
