"""Where the versions of PostgreSQL from 14 on differ in what the tests can see. The code itself asks for no version."""

from __future__ import annotations

import psycopg


def refusal_of_an_infinite_interval(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    """Return the SQLSTATE that refuses a delay of 'infinity': ours, or before 17, which knows none, the server's own."""
    return "PJ001" if connection.info.server_version >= 170_000 else "22007"
