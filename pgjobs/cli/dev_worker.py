"""The worker of `pgjobs dev`: one process, which gets its orders on standard input and ends when that does.

`pgjobs dev` holds the other end, and with it goes this process, even by SIGKILL.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from datetime import timedelta
from typing import Any

import click

from pgjobs import logs
from pgjobs.cli.apps import app_of
from pgjobs.cli.edge import one_sentence_per_error
from pgjobs.cli.target import Target
from pgjobs.ending import ending_in_time


def main() -> None:
    """Work until the orders end, or by a signal."""
    orders: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_follow, name="pgjobs dev", daemon=True).start()
    target = Target(orders["dsn"], orders["app"], orders["debug"])
    with ending_in_time():
        try:
            with one_sentence_per_error(target):
                logs.configure("info", "text")
                grace = timedelta(seconds=orders["grace"])
                app = app_of(target)
                app.run_worker(orders["queues"] or None, concurrency=orders["concurrency"], grace=grace)
                app.close()
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)


def _follow() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
