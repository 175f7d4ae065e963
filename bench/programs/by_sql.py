"""A client that is the same for every system: it enqueues one by one with the SQL statement that it is given.

How soon a client hears of its commit is a matter of the client. Held by one and the same, systems differ by themselves.
"""

import json
import os

import psycopg

import common


def main() -> None:
    """Enqueue, each job its own commit."""
    options = common.arguments()
    statement = os.environ["BENCH_STATEMENT"].encode()
    with psycopg.connect(common.url(), autocommit=True) as db:
        common.enqueue_blocking(
            options, lambda n: db.execute(statement, (json.dumps(common.payload(n, options)),), prepare=True)
        )


if __name__ == "__main__":
    main()
