"""Calls of tasks, right ones and wrong ones. A line that ends in `# E: mypy-code reportRule` must be found by both checkers,
with these codes; all others must be fine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_type

import pgjobs
from pgjobs import JobContext, JobId, Spec

app = pgjobs.App()


@dataclass
class Page:
    number: int


@app.task
def read(letter_id: int, language: str = "en") -> str:
    return f"{letter_id} {language}"


@app.task(queue="ocr", version=2)
async def scan(page: Page, *, at: datetime | None = None) -> int:
    return page.number


@read.upcast(from_version=1)
def with_language(payload: dict[str, Any]) -> dict[str, Any]:
    return {**payload, "language": "en"}


@scan.upcast(from_version=1)  # E: type-var|arg-type reportArgumentType
def no_dict(payload: dict[str, Any]) -> int:
    return 1


# A task is called as its function is.

assert_type(read(7), str)
assert_type(read(7, language="de"), str)
read("7")  # E: arg-type reportArgumentType
read()  # E: call-arg reportCallIssue

# It is enqueued as it is called.

assert_type(read.enqueue(7), JobId)
assert_type(read.enqueue(letter_id=7, language="de"), JobId)
assert_type(read.spec(7), Spec)
assert_type(read.options(delay=5, queue="slow").enqueue(7), JobId)
assert_type(read.options(priority=pgjobs.Priority.HIGH).spec(letter_id=7), Spec)
read.enqueue("7")  # E: arg-type reportArgumentType
read.enqueue()  # E: call-arg reportCallIssue
read.enqueue(7, colour="red")  # E: call-arg reportCallIssue
read.enqueue(7, "de", 1)  # E: call-arg reportCallIssue
read.spec(letter="7")  # E: call-arg reportCallIssue
read.options(delay=5).enqueue("7")  # E: arg-type reportArgumentType
read.options(delay="5m")  # E: arg-type reportArgumentType
read.options(dealy=5)  # E: call-arg reportCallIssue
scan.enqueue(1)  # E: arg-type reportArgumentType
scan.enqueue(Page(1), None)  # E: call-arg reportCallIssue
scan.enqueue(Page(1), at="2026-01-01")  # E: arg-type reportArgumentType


async def in_a_loop() -> None:
    assert_type(await read.aenqueue(7), JobId)
    assert_type(await read.options(delay=5).aenqueue(7), JobId)
    assert_type(await scan(Page(1)), int)
    await read.aenqueue(None)  # E: arg-type reportArgumentType
    await read.options().aenqueue()  # E: call-arg reportCallIssue


# The JobContext, where it comes first, is passed by who calls and not by who enqueues.


@app.task
def first(job: JobContext, letter_id: int) -> int:
    return job.attempt + letter_id


@app.task(max_attempts=1)
async def alone(job: JobContext) -> int:
    return job.run


@app.task
def maybe(job: JobContext | None = None, *, letter_id: int) -> None: ...


@app.task
def last(letter_id: int, job: JobContext | None = None) -> None: ...


def run(context: JobContext) -> None:
    assert_type(first(context, 7), int)
    first(7)  # E: call-arg|arg-type reportCallIssue|reportArgumentType
    first(context)  # E: call-arg reportCallIssue


assert_type(first.enqueue(7), JobId)
assert_type(first.enqueue(letter_id=7), JobId)
assert_type(first.options(delay=5).enqueue(7), JobId)
assert_type(alone.enqueue(), JobId)
assert_type(maybe.enqueue(letter_id=7), JobId)
assert_type(last.enqueue(7), JobId)
first.enqueue()  # E: call-arg reportCallIssue
first.enqueue("7")  # E: arg-type reportArgumentType
first.spec(7, 8)  # E: call-arg reportCallIssue
alone.enqueue(1)  # E: call-arg reportCallIssue
maybe.enqueue()  # E: call-arg reportCallIssue

# A first parameter that takes anything is no JobContext, and nothing is found that is not wrong.


@app.task
def anything(value: Any, times: int = 1) -> int:
    return times


@app.task(queue="q")
def any_object(value: object) -> int:
    return 1


anything.enqueue(7, times=2)
anything.enqueue(value=7)
any_object.enqueue(value=7)
any_object.enqueue(7)

# What is no task, and no setting of one.

app.task(name="x")(7)  # E: arg-type|call-overload reportArgumentType|reportCallIssue
app.task(qeue="x")  # E: call-overload reportCallIssue
app.task(timeout="5m")  # E: call-overload reportCallIssue|reportArgumentType
app.task(executor="threads")  # E: call-overload reportCallIssue|reportArgumentType
