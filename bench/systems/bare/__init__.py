"""The bare database: what a loop of statements reaches on a table with the columns and indexes of pgjobs' own."""

from bench.systems import System

SYSTEM = System(
    name="bare",
    kind="postgresql",
    language="python",
    requirements=(),
    keeps=(False,),
    # A psycopg connection, or PostgreSQL's own load generator, that claims and then deletes so many jobs a time.
    executors=tuple(f"{by}-{batch}" for by in ("psycopg", "pgbench") for batch in (1000, 100, 10, 1)),
    settings=(
        "A table made LIKE pgjobs.jobs INCLUDING ALL. A claim is one UPDATE of rows found FOR UPDATE SKIP LOCKED, then one "
        "DELETE of them, each its own commit, by one psycopg connection a process or by pgbench with prepared statements."
    ),
    promises=(
        "Nothing: no fence, no retry, no rescue, no wake-up, no handler. It is what the same rows cost at least, and no "
        "system to choose."
    ),
    takes=frozenset({"bulk", "clients", "how", "processes"}),
    left="select exists (select from bare.jobs)",
)
