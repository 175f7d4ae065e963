"""What `pgjobs demo` does, step by step: pages into a table, jobs with them, workers, and what came of it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import psycopg

from letters.pages import Page, make_pages
from letters.reading import accuracy
from letters.tasks import read_letter
from pgjobs import schema
from pgjobs.cli.tables import table

Connection = psycopg.Connection[tuple[Any, ...]]

DOCUMENTS = """
create schema if not exists pgjobs_demo;
drop table if exists pgjobs_demo.documents;
create table pgjobs_demo.documents (
    id          bigint generated always as identity primary key,
    name        text not null,
    language    text not null,
    image       bytea not null,
    text        text,
    confidence  real,
    run         integer,
    read_at     timestamptz
);
"""


def run(dsn: str, pages: int, workers: int) -> bool:
    """Run the demo on this database and tell about it on standard output. Returns whether all letters were read."""
    os.environ["PGJOBS_DSN"] = dsn
    step("Making the pgjobs schema")
    schema.migrate(dsn)
    letters = make_pages(pages)
    with psycopg.connect(dsn) as connection:
        connection.execute(DOCUMENTS)
        connection.commit()
        step(
            f"Putting {len(letters)} letters into a table, and a job for each into the queue ocr, in the same transaction"
        )
        jobs = store(connection, letters)
    step(
        f"Reading them with {workers} worker{'s' if workers > 1 else ''}, each with a warm OCR engine in a child process"
    )
    began = time.monotonic()
    with psycopg.connect(dsn, autocommit=True) as connection, running_workers(workers):
        progress(connection, jobs)
        corrupt = [(id, page) for id, page in jobs.items() if page.corrupt]
        if corrupt:
            repair(connection, corrupt)
            progress(connection, dict(corrupt))
        took = time.monotonic() - began
    with psycopg.connect(dsn, autocommit=True) as connection:
        return report(connection, jobs, took)


def store(connection: Connection, letters: list[Page]) -> dict[int, Page]:
    """Insert each page and enqueue its job, all in one transaction: both are there, or neither. Returns job -> page."""
    jobs: dict[int, Page] = {}
    with connection.transaction():
        for page in letters:
            [(document_id,)] = connection.execute(
                "insert into pgjobs_demo.documents (name, language, image) values (%s, %s, %s) returning id",
                (page.name, page.language, page.png),
            ).fetchall()
            job = read_letter.options(tx=connection).enqueue(document_id=document_id)
            jobs[job] = page
    return jobs


@contextmanager
def running_workers(count: int) -> Iterator[None]:
    """Real workers, as anybody starts them; stopped in an orderly way at the end."""
    command = ["worker", "--app", "letters.tasks:app", "--queue", "ocr", "--concurrency", "1"]
    show(command)
    folder = str(Path(__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))}
    processes = [
        subprocess.Popen(pgjobs_command(*command, "--log-level", "error"), env=environment, start_new_session=True)
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def progress(connection: Connection, jobs: dict[int, Page]) -> None:
    """Show a bar until every job is finished or dead."""
    with click.progressbar(length=len(jobs), label="  reading", show_pos=True, file=sys.stdout) as bar:
        done = 0
        while done < len(jobs):
            [(now,)] = connection.execute(
                "select count(*) from pgjobs.all_jobs where id = any (%s) and status in ('completed', 'dead')",
                (list(jobs),),
            ).fetchall()
            bar.update(now - done)
            done = now
            time.sleep(0.1)  # how often a person wants to see it move


def repair(connection: Connection, corrupt: list[tuple[int, Page]]) -> None:
    """Show the dead letter, repair its page, and retry it the way an operator does."""
    step("One page was corrupt. Its job failed, was retried, and is among the dead letters now")
    rows = connection.execute(
        "select id, task, payload::text, attempts, error from pgjobs.dead_letters where id = any (%s)",
        ([id for id, _ in corrupt],),
    ).fetchall()
    click.echo(
        indent(
            table(["id", "task", "payload", "attempts", "error"], [[str(v) for v in row] for row in rows], width=110)
        )
    )
    step("Repairing the page, then retrying what failed")
    for id, page in corrupt:
        connection.execute(
            "update pgjobs_demo.documents set image = %s"
            " where id = (select (payload ->> 'document_id')::bigint from pgjobs.dead_letters where id = %s)",
            (page.repaired, id),
        )
    command = ["retry-failed", "--queue", "ocr"]
    show(command)
    subprocess.run(pgjobs_command(*command), check=True)


def report(connection: Connection, jobs: dict[int, Page], took: float) -> bool:
    """Show what was read, and how to look at it all. Returns whether every job completed."""
    rows = connection.execute(
        "select j.id, j.status, j.attempts, j.run, j.finished_at - j.claimed_at, d.text, d.confidence"
        " from pgjobs.all_jobs j join pgjobs_demo.documents d on d.id = (j.payload ->> 'document_id')::bigint"
        " where j.id = any (%s) order by j.id",
        (list(jobs),),
    ).fetchall()
    lines, right = [], []
    for id, status, _, run, duration, text, confidence in rows:
        page = jobs[id]
        score = accuracy(page.text, text) if page.text and text else None
        if score is not None and page.clean:
            right.append((score, len(page.text or "")))
        lines.append(
            [page.name, status, str(run), f"{duration.total_seconds():.1f} s" if duration else "",
             f"{confidence:.0%}" if confidence is not None else "", f"{score:.1%}" if score is not None else "",
             " / ".join((text or "").split("\n")[:4])]
        )  # fmt: skip
    step("What was read")
    click.echo(indent(table(["letter", "status", "run", "took", "confidence", "right", "text"], lines, width=130)))
    complete = all(status == "completed" for _, status, *_ in rows)
    share = sum(score * length for score, length in right) / max(sum(length for _, length in right), 1)
    step(
        f"{sum(status == 'completed' for _, status, *_ in rows)} of {len(jobs)} letters read in {took:.0f} s;"
        f" {share:.1%} of the characters on clean pages are right"
    )
    return complete


QUERIES = (
    ("how the queues stand", "select * from pgjobs.queue_overview"),
    ("the jobs, wherever they are", "select id, task, status, attempts, result from pgjobs.all_jobs order by id"),
    ("which failed on the way", "select id, errors from pgjobs.all_jobs where errors is not null"),
    ("what was read", "select name, confidence, text from pgjobs_demo.documents order by id"),
)


def look_yourself(dsn: str) -> None:
    """Show the SQL to look at it all."""
    step("To look at it yourself")
    click.echo(f"  psql '{dsn}'")
    for what, query in QUERIES:
        click.echo(f"    {query};" + click.style(f"  -- {what}", dim=True))


def pgjobs_command(*arguments: str) -> list[str]:
    """The command line, in this interpreter."""
    return [sys.executable, "-m", "pgjobs", *arguments]


def show(command: list[str]) -> None:
    """Show a command as somebody would type it."""
    click.echo(click.style(f"  $ pgjobs {shlex.join(command)}", fg="cyan"))


def step(text: str) -> None:
    """Say what comes next."""
    click.echo(click.style("\n* ", fg="green", bold=True) + click.style(text, bold=True))


def indent(text: str) -> str:
    """Move a table to the right."""
    return "\n".join("  " + line for line in text.split("\n"))
