"""Wake-ups: what a worker makes of what the listener hears. They are hints; without them all still happens, a poll later (I9)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

from pgjobs.worker.cancels import Cancels
from pgjobs.worker.claimer import Claimer


class Wakeups:
    """Lets the claimer claim sooner, and requests to cancel be looked at.

    Arguments: queues, of the worker; on_one, called when there may be something to do.
    """

    def __init__(self, queues: Collection[str], claimer: Claimer, cancels: Cancels, on_one: Callable[[], None]) -> None:
        self._queues = queues
        self._claimer = claimer
        self._cancels = cancels
        self._on_one = on_one

    def heard(self, message: Mapping[str, Any]) -> None:
        """Take in a notification."""
        if message.get("cancel") == self._claimer.worker:
            self._cancels.now()
            self._on_one()
        if message.get("queue") not in self._queues:
            return
        now = time.monotonic()
        if "since" in message:
            since = datetime.fromisoformat(message["since"])
            if since.tzinfo is None:
                return  # anybody may NOTIFY, and this was not us
            self._claimer.pace.announced(message["queue"], since, now)
        elif self._claimer.pace.is_for_another(message["queue"], message.get("to")):
            return
        else:
            self._claimer.pace.woken(now, float(message.get("in", 0)))
        self._on_one()

    def listening(self, listening: bool) -> None:
        """Take in whether anything is heard from now on."""
        self._claimer.listening = listening
        # What was said while nobody listened was not heard: look now.
        self._claimer.pace.woken(time.monotonic(), 0)
        self._on_one()
