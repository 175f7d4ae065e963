"""The job of the demo: read the image of a document, and store its text beside it.

It runs in child processes (executor="process"): reading a page keeps a core busy for a second, and an engine that
crashed would only take its child along. Each child keeps one engine warm.
"""

from __future__ import annotations

from functools import cache

import psycopg

import pgjobs
from letters.reading import Reader

app = pgjobs.App()


@app.task(
    queue="ocr", max_attempts=3, timeout=120, executor="process", retry=pgjobs.Exponential(1.5, max=60, jitter=0.1)
)
def read_letter(job: pgjobs.JobContext, document_id: int) -> dict[str, float | int]:
    """Read one document. The text goes into its row; the job's result says how well it went."""
    with psycopg.connect(app.dsn, autocommit=True) as connection:
        [(image,)] = connection.execute(
            "select image from pgjobs_demo.documents where id = %s", (document_id,)
        ).fetchall()
    reading = engine().read(image)
    with psycopg.connect(app.dsn, autocommit=True) as connection:
        # The run is a fencing token: should this job have been taken from us meanwhile, its later run has written.
        connection.execute(
            "update pgjobs_demo.documents set text = %s, confidence = %s, run = %s, read_at = now()"
            " where id = %s and coalesce(run, 0) <= %s",
            (reading.text, reading.confidence, job.run, document_id, job.run),
        )
    return {"lines": len(reading.lines), "confidence": round(reading.confidence, 3)}


@cache
def engine() -> Reader:
    """The OCR engine of this process: loaded once, used for every page. One thread: each core has a child of its own."""
    return Reader(threads=1)
