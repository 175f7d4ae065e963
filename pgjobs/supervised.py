"""A worker process under a supervisor: `python -m pgjobs.supervised` with its end of the line; see worker/link.py."""

from __future__ import annotations

import os
import socket
import sys

from pgjobs import logs
from pgjobs.ending import end_with_parent, ending_in_time
from pgjobs.errors import PgjobsError
from pgjobs.loading import load
from pgjobs.worker import run_until_stopped
from pgjobs.worker.link import Link


def main() -> None:
    """Work as ordered, and tell at the end what was done, or what went wrong."""
    parent = os.getppid()
    link = Link(socket.socket(fileno=int(sys.argv[1])))
    end_with_parent(parent)
    orders = link.orders
    if orders.log is not None:
        logs.configure(*orders.log)
    sys.path.extend(path for path in orders.path if path not in sys.path)
    try:
        app = load(orders.app, "the supervisor")
        app.use_dsn(orders.dsn)
        worker = app.make_worker(keeping=link.keeper, **orders.options)
        link.stats = worker.stats
        run_until_stopped(worker)
    except Exception as error:
        link.tell_stats()
        text = str(error) if isinstance(error, PgjobsError) else f"{type(error).__name__}: {error}"
        link.say({"error": text})
        sys.exit(1)
    link.tell_stats()
    app.close()
    link.say({"left": True})


if __name__ == "__main__":
    with ending_in_time():
        main()
