"""A worker process under a supervisor: `python -m pgjobs.supervised` with its end of the line; see worker/link.py."""

from __future__ import annotations

import os
import socket
import sys
import traceback

from pgjobs import logs
from pgjobs.ending import end_with_parent, ending_in_time
from pgjobs.loading import load
from pgjobs.sentences import sentence
from pgjobs.worker import run_until_stopped
from pgjobs.worker.link import Link
from pgjobs.worker.options import tell_of_strange_queues


def main() -> None:
    """Work as ordered, and tell at the end what was done, or what went wrong."""
    parent = os.getppid()
    end = socket.socket(fileno=int(sys.argv[1]))
    try:
        link = Link(end)
    except EOFError:  # whoever began this process ahead has no use for it
        end.close()
        return
    end_with_parent(parent)
    orders = link.orders
    if orders.log is not None:
        logs.configure(*orders.log)
    os.environ.update(orders.environment)
    sys.path.extend(path for path in orders.path if path not in sys.path)
    try:
        app = load(orders.app, orders.named_by)
        if orders.dsn:
            app.use_dsn(orders.dsn)
        worker = app.make_worker(keeping=link.keeper, **orders.options)
        if orders.look:
            tell_of_strange_queues(worker.options, app.tasks)
            link.say({"dsn": app.dsn})
        link.stats = worker.stats
        run_until_stopped(worker)
    except Exception as error:
        link.tell_stats()
        if orders.debug:
            traceback.print_exception(error)
        link.say({"error": sentence(error)})
        sys.exit(1)
    link.tell_stats()
    app.close()
    link.say({"left": True})


if __name__ == "__main__":
    with ending_in_time():
        main()
