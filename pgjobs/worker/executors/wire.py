"""What travels between a worker and a child: orders one way, answers the other.

Orders are the worker's own words: marshal, the quickest there is, between two processes of one interpreter. Answers come
over a socket that a handler can write to: they are read as what they may be, and name the run they are about (I3).
"""

from __future__ import annotations

import json
import marshal
import struct
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pgjobs.context import JobContext
from pgjobs.job import Progress
from pgjobs.outcome import Cancelled, Done, Failed, Outcome, Snoozed
from pgjobs.payload import MAX_LENGTH, decode

CHUNK = 65_536  # bytes of a message; an order that is longer travels in several
LONGEST = 2 * MAX_LENGTH  # bytes of an answer: more is no answer of ours

READY, SAID, DONE, OTHER = range(4)  # kinds of answers

ADDRESS = struct.Struct("<Iqi")  # at the head of an order: length of what follows, id, run
_HEAD = struct.Struct("<IBBqi")  # length of what follows, kind, whether the child waits, id, run
_MICROSECOND = timedelta(microseconds=1)


class Order(NamedTuple):
    """One job for a child: where its function is, its payload, and what the handler can know. Texts stay texts."""

    module: str
    qualname: str
    task: str
    payload: str
    version: int | None
    id: int
    run: int
    queue: str
    attempt: int
    max_attempts: int
    enqueued_at: str
    timeout: float | None  # seconds
    metadata: str | None

    def context(self) -> JobContext:
        """Return what the handler can know, as of now. Raises ValueError for metadata that Python cannot hold."""
        return JobContext(
            self.id, self.run, self.queue, self.task, self.attempt, self.max_attempts,
            datetime.fromisoformat(self.enqueued_at), datetime.now(UTC),
            None if self.timeout is None else timedelta(seconds=self.timeout),
            None if self.metadata is None else decode(self.metadata),
        )  # fmt: skip


def order_text(order: Order) -> bytes:
    """Return an order as it travels."""
    body = marshal.dumps(tuple(order))
    return ADDRESS.pack(len(body), order.id, order.run) + body


def whole(begun: bytes) -> int:
    """Return how long an order is of which this is the beginning."""
    return ADDRESS.size + int(ADDRESS.unpack_from(begun)[0])


def read_order(text: bytes) -> Order:
    """Return an order that has come whole."""
    return Order._make(marshal.loads(memoryview(text)[ADDRESS.size :]))


def answer(kind: int, id: int = 0, run: int = 0, body: bytes = b"", waits: bool = False) -> bytes:
    """Return an answer of a child."""
    return _HEAD.pack(len(body), kind, waits, id, run) + body


def outcome_answer(id: int, run: int, outcome: Outcome, waits: bool) -> bytes:
    """Return the answer that a run has ended. Arguments: waits, whether the child waits until it may go on."""
    if type(outcome) is Done:
        return answer(DONE, id, run, outcome.result.encode(), waits)
    match outcome:
        case Failed(error, message, traceback, delay, final):
            fields = [error, message, traceback, None if delay is None else delay // _MICROSECOND, final]
        case Snoozed(delay):
            fields = [delay // _MICROSECOND]
        case Cancelled(reason):
            fields = [reason]
        case _:
            raise AssertionError(f"a child does not say {outcome}")
    return answer(OTHER, id, run, json.dumps([type(outcome).__name__, *fields]).encode(), waits)


def progress_answer(id: int, run: int, progress: Progress) -> bytes:
    """Return what a run says of its progress."""
    return answer(SAID, id, run, json.dumps([progress.done, progress.total, progress.message]).encode())


class Answer(NamedTuple):
    """An answer as it was read."""

    kind: int
    waits: bool
    id: int
    run: int
    body: bytes

    def outcome(self) -> Outcome:
        """Return the outcome. Raises ValueError or TypeError if it is none."""
        if self.kind == DONE:
            return Done(self.body.decode())
        kind, *fields = json.loads(self.body)
        match kind:
            case "Failed":
                error, message, traceback, delay, final = fields
                return Failed(error, message, traceback, None if delay is None else delay * _MICROSECOND, final)
            case "Snoozed":
                return Snoozed(fields[0] * _MICROSECOND)
            case "Cancelled":
                return Cancelled(*fields)
        raise ValueError("no outcome")

    def progress(self) -> Progress:
        """Return what was said. Raises ValueError or TypeError if it is nothing."""
        return Progress(*json.loads(self.body))


class Answers:
    """Puts the bytes of a child together to answers. `broken` once something came that is none of ours."""

    def __init__(self) -> None:
        self.broken = False
        self._begun = bytearray()

    def read(self, data: bytes) -> list[Answer]:
        """Return those that are whole now."""
        begun = self._begun
        begun += data
        at = 0
        answers: list[Answer] = []
        while len(begun) - at >= _HEAD.size and not self.broken:
            length, kind, waits, id, run = _HEAD.unpack_from(begun, at)
            end = at + _HEAD.size + length
            if length > LONGEST or kind > OTHER:
                self.broken = True
            elif len(begun) < end:
                break
            else:
                answers.append(Answer(kind, bool(waits), id, run, bytes(begun[at + _HEAD.size : end])))
                at = end
        del begun[:at]
        return answers
