"""A process that is nothing but a supervisor: what `pgjobs worker` becomes. Run by its path, not by its name.

By its name Python would first import the packages it is in, and with them psycopg and asyncio: 28 MB that a supervisor has
no use for. So it stands in for these packages and imports single modules out of them.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType


def main() -> None:
    """Take the orders from the file that is named by its number, and supervise."""
    stand_in()

    from pgjobs import logs
    from pgjobs.errors import PgjobsError
    from pgjobs.orders import Orders
    from pgjobs.worker.supervisor import Supervisor

    with open(int(sys.argv[1]), encoding="utf-8") as file:
        orders = Orders.load(file.read())
    if orders.log is not None:
        logs.configure(*orders.log)
    supervisor = Supervisor(orders)
    try:
        supervisor.run()
    except PgjobsError as error:
        sys.exit(f"Error: {error}")
    print(supervisor.summary(), flush=True)


def stand_in() -> None:
    """Have modules of pgjobs found, and their packages not run."""
    worker = os.path.dirname(os.path.abspath(__file__))
    for name, folder in (("pgjobs", os.path.dirname(worker)), ("pgjobs.worker", worker)):
        package = ModuleType(name)
        package.__path__ = [folder]
        sys.modules[name] = package


if __name__ == "__main__":
    main()
