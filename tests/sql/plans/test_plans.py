"""How the hot functions get at rows: by a key, through the index made for it, whatever statistics and sessions believe.

auto_explain tells the plan of every statement that a function runs, as it ran.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from pgjobs import calls
from pgjobs.calls import Call
from pgjobs.connections import PsycopgRunner, run
from pgjobs.job import Spec
from pgjobs.worker.cursors import Cursors
from tests.conftest import Connection
from tests.sql.plans.verbs import Bench

Node = dict[str, Any]

OURS = re.compile(r"jobs|attempts|job_history(_\d\d)?|dead_letters|workers")
# What an index must be asked for: its first column. A scan without it walks the index, or skips through it (from 18 on).
FIRST_COLUMN = {
    "jobs_pkey": "id",
    "jobs_ready": "queue",
    "jobs_running": "worker",
    "jobs_waiting": "line",
    "attempts_pkey": "job_id",
    "dead_letters_pkey": "id",
    "dead_letters_by_queue": "(queue|id)",  # skipping through so few queues is no harm
    "workers_pkey": "id",
}


def mistakes(db: Connection, call: Call[Any]) -> list[str]:
    """Run a call and say what is wrong with how the statements inside got at our rows."""
    outer = call.sql.partition("%")[0]
    return [
        mistake
        for plan in plans(db, call)
        for mistake in _mistakes(plan, nested=not plan["Query Text"].startswith(outer))
    ]


def plans(db: Connection, call: Call[Any]) -> list[Node]:
    """Run a call and return the plans of all its statements, nested ones included."""
    told: list[Node] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        _, plan, text = (notice.message_primary or "").partition("plan:\n")
        if plan:
            told.append(json.loads(text))

    db.add_notice_handler(hear)
    try:
        db.execute("set client_min_messages = log")
        run(PsycopgRunner(db), call)
        db.execute("set client_min_messages = notice")
    finally:
        db.remove_notice_handler(hear)
    assert told
    return told


def _mistakes(plan: Node, nested: bool) -> Iterator[str]:
    if "JIT" in plan and nested:
        yield f"compiled: {_short(plan['Query Text'])}"
    for node in _nodes(plan["Plan"]):
        kind = node["Node Type"]
        index = node.get("Index Name")
        if kind == "Seq Scan" and OURS.fullmatch(node["Relation Name"]):
            yield f"Seq Scan on {node['Relation Name']}: {_short(plan['Query Text'])}"
        elif index is not None:
            first = FIRST_COLUMN.get(index) or ("id" if re.fullmatch(r"job_history_\d\d_pkey", index) else None)
            asked = node.get("Index Cond", "")
            if first is not None and not re.search(rf'\(+(\w+\.)?"?{first}"? (=|<|>)', asked):
                yield f"{kind} using {index} for {asked or 'everything'}: {_short(plan['Query Text'])}"


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _short(sql: str) -> str:
    return " ".join(sql.split())[:90]


def explaining(db: Connection) -> Connection:
    db.execute("load 'auto_explain'")
    for setting, value in {
        "log_min_duration": "0", "log_nested_statements": "on", "log_format": "json", "log_analyze": "on", "log_timing": "off",
    }.items():  # fmt: skip
        db.execute(f"set auto_explain.{setting} = {value}")
    return db


def fill(db: Connection, count: int = 100_000) -> None:
    """Fill every table that a verb looks into."""
    db.execute(
        "insert into pgjobs.jobs (queue, task, payload, wake, available_at)"
        " select case when n %% 2 = 0 then 'measured' else 'other' end, 't', '{}', false, pgjobs.now() + interval '9 days'"
        " from generate_series(1, %s) n",
        (count,),
    )
    db.execute(
        "with new as (insert into pgjobs.dead_letters (id, enqueued_at, failed_at, run, attempts, crashes, priority, queue,"
        " task, payload, reason, error) select nextval('pgjobs.jobs_id_seq'), pgjobs.now(), pgjobs.now(), 1, 1, 0, 0, 't',"
        " 't', '{}', 'failed', 'E: m' from generate_series(1, %s) n returning id)"
        " insert into pgjobs.attempts select id, 1, 1, 1, pgjobs.now(), pgjobs.now(), 'E', 'm', null from new",
        (count // 10,),
    )
    db.execute(
        "insert into pgjobs.job_history (slot, id, enqueued_at, finished_at, run, attempts, crashes, priority, status,"
        " queue, task, payload) select n %% 16, nextval('pgjobs.jobs_id_seq'), pgjobs.now(), pgjobs.now(), 1, 0, 0, 0,"
        " 'completed', 't', 't', '{}' from generate_series(1, %s) n",
        (count // 10,),
    )


# In the application's sessions it is for the application to say what is worth to be compiled.
OF_APPLICATIONS = ("enqueue", "enqueue_many", "retry_failed", "cancel", "cancel_running", "edit", "cancel_where")


def wrong(found: dict[str, list[str]]) -> dict[str, list[str]]:
    for verb in OF_APPLICATIONS:
        found[verb] = [mistake for mistake in found[verb] if not mistake.startswith("compiled")]
    # A look-up is no function: it is planned as it is asked, by the tables' true size.
    return {verb: mistakes for verb, mistakes in found.items() if mistakes and verb != "look_up"}


def test_plans_made_when_tables_were_empty_serve_when_they_are_full(
    bench_on: Callable[[Connection], Bench], connect: Callable[..., Connection], db: Connection
) -> None:
    old = bench_on(explaining(connect()))
    db.execute("analyze")
    assert wrong(old.each(mistakes)) == {}  # now the old session has its plans
    fill(db)
    assert wrong(old.each(mistakes)) == {}
    assert wrong(bench_on(explaining(connect())).each(mistakes)) == {}


def test_plans_made_when_tables_were_full_serve_when_they_are_empty(
    bench_on: Callable[[Connection], Bench], connect: Callable[..., Connection], db: Connection
) -> None:
    fill(db)
    db.execute("analyze")
    old = bench_on(explaining(connect()))
    assert wrong(old.each(mistakes)) == {}
    db.execute("truncate pgjobs.jobs, pgjobs.attempts, pgjobs.dead_letters, pgjobs.job_history")
    assert wrong(old.each(mistakes)) == {}
    assert wrong(bench_on(explaining(connect())).each(mistakes)) == {}


# Defaults of a role or a database that somebody may have set for reasons of their own.
ODD_DEFAULTS: list[dict[str, str]] = [
    {"default_transaction_isolation": "repeatable read"},
    {"default_transaction_isolation": "serializable", "default_transaction_deferrable": "on"},
    {"jit": "on", "jit_above_cost": "0"},
    {"random_page_cost": "100"},
    {"random_page_cost": "0.01", "seq_page_cost": "0.01", "cpu_tuple_cost": "10"},
    {"cpu_index_tuple_cost": "100", "cpu_operator_cost": "10"},
    {"plan_cache_mode": "force_custom_plan"},
    {"plan_cache_mode": "force_generic_plan", "enable_partition_pruning": "off"},
    {"enable_nestloop": "off"},
    {"enable_sort": "off", "enable_material": "off", "enable_memoize": "off"},
    {"effective_cache_size": "64kB", "work_mem": "64kB", "cursor_tuple_fraction": "0.000001"},
    {"from_collapse_limit": "1", "join_collapse_limit": "1", "geqo_threshold": "2"},
    {"parallel_setup_cost": "0", "parallel_tuple_cost": "0", "min_parallel_table_scan_size": "0"},
    {"search_path": ""},
    {"DateStyle": "German", "TimeZone": "Asia/Kathmandu"},
    {"DateStyle": "SQL, DMY", "IntervalStyle": "sql_standard", "extra_float_digits": "-15"},
    {"standard_conforming_strings": "off", "backslash_quote": "off", "escape_string_warning": "off", "array_nulls": "off",
     "transform_null_equals": "on", "quote_all_identifiers": "on", "bytea_output": "escape", "xmloption": "document",
     "synchronous_commit": "off", "row_security": "off", "check_function_bodies": "off"},
]  # fmt: skip


def test_the_hot_verbs_do_not_mind_the_defaults_of_a_session(
    bench_on: Callable[[Connection], Bench], connect: Callable[..., Connection], db: Connection, dsn: str
) -> None:
    fill(db, 20_000)
    found = {}
    for defaults in ODD_DEFAULTS:
        with odd(db, defaults):
            session = explaining(connect())
            run(PsycopgRunner(session), calls.session())  # as clients and workers do
            found[str(defaults)] = wrong(bench_on(session).each(mistakes))
    assert {defaults: mistakes for defaults, mistakes in found.items() if mistakes} == {}


@contextmanager
def odd(db: Connection, defaults: dict[str, str]) -> Iterator[None]:
    """Make these the defaults of new sessions of this database."""
    database = sql.Identifier(db.info.dbname)
    alter = sql.SQL("alter database {} set {} = {}")
    for name, value in defaults.items():
        db.execute(alter.format(database, sql.Identifier(name), sql.Literal(value)))
    yield
    db.execute(sql.SQL("alter database {} reset all").format(database))


def test_an_enqueue_says_the_same_whatever_the_defaults_of_the_applications_session(
    connect: Callable[..., Connection], db: Connection
) -> None:
    hour, timeout = timedelta(hours=1), timedelta(seconds=90.5)
    for defaults in ODD_DEFAULTS:
        with odd(db, defaults):
            runner = PsycopgRunner(connect())
            one = run(runner, calls.enqueue(Spec("t", '{"n": 1.5}', delay=hour, timeout=timeout)))
            (two,) = run(runner, calls.enqueue_many([Spec("t", '{"n": 1.5}', delay=hour, timeout=timeout)]))
            rows = runner.rows("select pgjobs.enqueue('t', '{\"n\": 1.5}', delay => '1 hour', timeout => '90.5 s')", ())
        for id in (one, two, rows[0][0]):
            found = db.execute(
                "select payload ->> 'n', available_at - enqueued_at, timeout from pgjobs.jobs where id = %s", (id,)
            ).fetchone()
            assert found == ("1.5", hour, timeout), defaults


def test_a_claim_tells_times_that_python_reads_whatever_the_defaults_of_the_session(
    connect: Callable[..., Connection], db: Connection
) -> None:
    worker = run(PsycopgRunner(db), calls.register("odd", "here", 1, "0", ["default"], 1, timedelta(days=1)))
    for defaults in ODD_DEFAULTS:
        db.execute("select pgjobs.enqueue('t')")
        with odd(db, defaults):
            runner = PsycopgRunner(connect())
            run(runner, calls.session())
            step = run(runner, calls.claim(worker, 1, Cursors(["default"]).scan(timedelta(seconds=0.2), None)))
        (job,) = step.claimed
        found = db.execute("select enqueued_at from pgjobs.jobs where id = %s", (job.id,)).fetchone()
        assert found == (datetime.fromisoformat(job.enqueued_at),), defaults
        assert step.cursor is not None
        assert datetime.fromisoformat(step.cursor[2]) <= found[0], defaults
    assert run(PsycopgRunner(db), calls.resign(worker)) == 0
