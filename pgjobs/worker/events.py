"""What hooks are told of a run: that it starts, that it failed, and what came of it once that is written and not before."""

from __future__ import annotations

import asyncio
import logging
import time

from pgjobs.hooks import Hooks
from pgjobs.middleware import Around, log_runs
from pgjobs.outcome import Done, Failed, Release
from pgjobs.worker.run import Run, Watch
from pgjobs.worker.settler import Ending, Entry
from pgjobs.worker.teller import Teller


class Events:
    """Turns what happens to runs into events, and has them told; and, at debug level, into lines of the log."""

    def __init__(self, hooks: Hooks) -> None:
        self.teller = Teller(hooks)
        self.wanted = False
        # At this level every run is worth a line when it starts and one when it ends.
        self._logged = logging.getLogger("pgjobs.task").isEnabledFor(logging.DEBUG)
        self.watches = self._logged  # whether anybody wants to know of runs at all

    def begin(self, worker: int) -> None:
        """Tell from now on, as this worker, if there are hooks."""
        self.teller.worker = worker
        self.wanted = bool(self.teller)
        self.watches = self.wanted or self._logged

    def started(self, run: Run) -> None:
        """Tell that a run starts."""
        around = None
        if self._logged and run.context is not None:
            around = Around((log_runs,), run.context)
            around.__enter__()
        run.watch = Watch(time.monotonic(), around)
        if self.wanted:
            self.teller.tell("start", run.context)

    def ended(self, run: Run) -> None:
        """Tell how a run failed."""
        assert run.watch is not None
        run.seconds = time.monotonic() - run.watch.began
        around = run.watch.around
        if around is not None:
            cut = asyncio.CancelledError() if type(run.outcome) is Release else None
            around.result = run.outcome
            around.__exit__(type(cut) if cut else None, cut, None)
        if self.wanted and type(run.outcome) is Failed:
            self.teller.tell("error", run.context, run.outcome, run.seconds)

    def settled(self, entry: Entry, ending: Ending) -> None:
        """Tell what was written. That it was cancelled, whatever came of it, no hook wants to know."""
        if type(entry.outcome) is Done:
            self.teller.tell("success", entry.context, entry.outcome, entry.seconds)
        elif type(entry.outcome) is Failed and ending != "cancelled":
            self.teller.tell("failure" if ending == "dead" else "retry", entry.context, entry.outcome, entry.seconds)
