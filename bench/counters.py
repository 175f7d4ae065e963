"""What PostgreSQL counts of a run: WAL, pages touched, dead rows, statements; and the size of what it stores."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench import meters


@dataclass(frozen=True)
class Counters:
    """Where the counters are: the differences of two are what a run has cost."""

    wal: int  # bytes, of the server
    pages: int  # of tables, indexes and toast of this database: found in shared buffers or read
    dead: int  # row versions, as the statistics have them
    cpu: float | None  # seconds, of all the server's processes; None: it is not ours


# Sessions hand in what they counted when they end, and once a second while they live.
READ = """
select (pg_current_wal_insert_lsn() - '0/0')::bigint,
       (select coalesce(sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit, 0) + coalesce(idx_blks_read, 0)
                            + coalesce(toast_blks_hit, 0) + coalesce(toast_blks_read, 0)
                            + coalesce(tidx_blks_hit, 0) + coalesce(tidx_blks_read, 0)), 0)::bigint
        from pg_statio_user_tables),
       (select coalesce(sum(n_dead_tup), 0)::bigint from pg_stat_user_tables)
"""


def read(db: psycopg.Connection[Any], server: int | None) -> Counters:
    """Read them."""
    with db.transaction():  # the statistics are looked up anew in each transaction
        [(wal, pages, dead)] = db.execute(READ).fetchall()
    return Counters(int(wal), int(pages), int(dead), meters.cpu_of_server(server) if server else None)


def sizes(db: psycopg.Connection[Any]) -> dict[str, int]:
    """Bytes of each table that has any and of each of its indexes; partitions count as their table."""
    rows = db.execute(
        "select coalesce(pg_partition_root(coalesce(i.indrelid, c.oid)), coalesce(i.indrelid, c.oid))::regclass::text"
        "       || case when i.indrelid is null then '' when pg_partition_root(i.indrelid) is null then ' ' || c.relname else ' index' end,"
        "       sum(pg_total_relation_size(c.oid) - case when c.relkind = 'r' then pg_indexes_size(c.oid) else 0 end)::bigint"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_index i on i.indexrelid = c.oid"
        " where c.relkind in ('r', 'i') and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')"
        " group by 1 having sum(pg_relation_size(c.oid)) > 0 order by 1"
    ).fetchall()
    return {name: int(size) for name, size in rows}


def other_sessions(db: psycopg.Connection[Any]) -> int:
    """How many clients, not of the harness, are connected to this database."""
    [(others,)] = db.execute(
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and backend_type = 'client backend' and application_name <> 'bench'"
    ).fetchall()
    return int(others)


def wait_alone(db: psycopg.Connection[Any], limit: float = 20) -> None:
    """Wait until nobody else is connected, so that all have handed in what they counted."""
    ends = time.monotonic() + limit
    while other_sessions(db) and time.monotonic() < ends:
        time.sleep(0.02)  # a session that ends tells nobody


class Statements:
    """Counts the statements of one database in the server's log, while log_statement is on there."""

    def __init__(self, db: psycopg.Connection[Any], database: str, log: Path) -> None:
        self._db, self._log = db, log
        self._marks = tuple(f"[{database}] LOG:  {kind}" for kind in ("statement: ", "execute ", "fastpath "))
        self._database = database
        self._from = log.stat().st_size

    def start(self) -> None:
        """Log the statements of sessions that begin from now on; ours goes on as it was."""
        self._db.execute(f"alter database \"{self._database}\" set log_statement = 'all'")
        self._from = self._log.stat().st_size

    def stop(self) -> int:
        """Return how many there were, of all sessions that began since."""
        self._db.execute(f'alter database "{self._database}" reset log_statement')
        with self._log.open("rb") as log:
            log.seek(self._from)
            return sum(line.decode(errors="replace").startswith(self._marks) for line in log)
