"""The server that is measured: one of our own with fsync on, or one that is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pgjobs import schema
from pgjobs.embedded import EmbeddedPostgres

SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
}


@contextmanager
def server(dsn: str | None) -> Iterator[str]:
    """Yield the DSN of a migrated database, and hand it to the workers through the environment."""
    if dsn is None:
        with EmbeddedPostgres(settings=SETTINGS) as own, server(own.dsn) as dsn:
            yield dsn
        return
    schema.migrate(dsn)
    os.environ["PGJOBS_DSN"] = dsn
    yield dsn
