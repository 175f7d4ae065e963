"""Putting jobs into their queues."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pgjobs.calls.call import Call, Rows
from pgjobs.job import JobId, Spec


def enqueue(spec: Spec, alone: bool = False) -> Call[JobId]:
    """Put one job into its queue; returns its id. `alone` if the call is a transaction by itself, for sure."""
    given = (spec.delay, spec.available_at, spec.max_attempts, spec.timeout, spec.metadata, spec.version)
    if spec.notify and given == _NOTHING:
        # Most are like this, and what is not sent costs nothing.
        return Call(_PLAIN_ALONE if alone else _PLAIN, (spec.task, spec.payload, spec.queue, int(spec.priority)), _id)
    return Call(
        "select pgjobs.enqueue_v1(%s::text, %s::jsonb, %s::text, %s::integer, %s::interval,"
        " %s::timestamptz, %s::integer, %s::interval, %s::jsonb, %s::boolean, %s::integer, %s::boolean)",
        (spec.task, spec.payload, spec.queue, int(spec.priority), spec.delay, spec.available_at,
         spec.max_attempts, spec.timeout, spec.metadata, spec.notify, spec.version, alone),
        _id,
    )  # fmt: skip


_NOTHING = (None,) * 6
_PLAIN, _PLAIN_ALONE = (
    "select pgjobs.enqueue_v1(%s::text, %s::jsonb, %s::text, %s::integer, null::interval, null::timestamptz, null::integer,"
    f" null::interval, null::jsonb, true, null::integer, {alone})"
    for alone in ("false", "true")
)


def _id(rows: Rows) -> JobId:
    return JobId(rows[0][0])


def enqueue_many(specs: Iterable[Spec], notify: bool = True) -> Call[list[JobId]]:
    """Put many jobs into their queues in one statement; returns their ids in the order given."""
    return Call(
        "select id, created from pgjobs.enqueue_many_v1(%s::jsonb, %s::boolean)",
        ("[" + ",".join(map(_spec_json, specs)) + "]", notify),
        lambda rows: [JobId(*row) for row in rows],
    )


def _spec_json(spec: Spec) -> str:
    settings: dict[str, Any] = {"task": spec.task, "queue": spec.queue, "priority": int(spec.priority)}
    if spec.delay is not None:
        settings["delay"] = spec.delay.total_seconds()
    if spec.available_at is not None:
        settings["available_at"] = spec.available_at.isoformat()
    if spec.max_attempts is not None:
        settings["max_attempts"] = spec.max_attempts
    if spec.timeout is not None:
        settings["timeout"] = spec.timeout.total_seconds()
    if spec.version is not None:
        settings["version"] = spec.version
    metadata = f',"metadata":{spec.metadata}' if spec.metadata is not None else ""
    return f'{json.dumps(settings)[:-1]},"payload":{spec.payload}{metadata}}}'
