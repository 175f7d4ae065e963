"""A task: what may be declared, what may be enqueued."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import pgjobs
from pgjobs import ConfigurationError, InvalidJob, InvalidPayload, JobContext, Priority, Task


@pytest.fixture
def app() -> pgjobs.App:
    """An app that is never asked to connect."""
    return pgjobs.App("host=nowhere.invalid")


def payload(spec: pgjobs.Spec) -> Any:
    return json.loads(spec.payload)


def read_letter(letter_id: int, family_id: int, language: str = "en") -> str:
    """Read a letter."""
    return f"{letter_id} {family_id} {language}"


# What a declared task is


def test_a_task_is_still_the_function_it_was_made_of(app: pgjobs.App) -> None:
    task = app.task(read_letter)
    assert task(1, 2) == "1 2 en"
    assert task(letter_id=1, family_id=2, language="de") == "1 2 de"
    assert (task.__name__, task.__doc__, task.__module__) == ("read_letter", "Read a letter.", __name__)
    assert inspect.signature(task) == inspect.signature(read_letter)
    assert repr(task) == "<Task read_letter on queue default>"
    assert app["read_letter"] is task


def test_a_coroutine_function_is_still_one_to_await(app: pgjobs.App) -> None:
    @app.task
    async def fetch(url: str) -> str:
        return url

    assert fetch.options_.executor == "async"
    assert asyncio.run(fetch("x")) == "x"


def test_the_options_of_a_task_are_kept(app: pgjobs.App) -> None:
    retry = pgjobs.Linear(5)
    task = app.task(
        name="letters.read", queue="ocr", priority=Priority.LOW, max_attempts=3, timeout=300, executor="process",
        retry=retry, keep="nothing",
    )(read_letter)  # fmt: skip
    options = task.options_
    assert (task.name, options.queue, options.priority, options.max_attempts) == ("letters.read", "ocr", 1, 3)
    assert (options.timeout, options.executor) == (timedelta(minutes=5), "process")
    assert (options.policy.retry, options.keep) == (retry, "nothing")
    assert (task.spec(1, 2).task, task.spec(1, 2).queue, task.spec(1, 2).priority) == ("letters.read", "ocr", 1)


def test_without_options_a_task_has_the_defaults(app: pgjobs.App) -> None:
    options = app.task(read_letter).options_
    assert (options.queue, options.priority, options.max_attempts, options.timeout) == ("default", 0, 5, None)
    assert (options.executor, options.policy.retry, options.keep) == ("thread", pgjobs.Exponential(), "history")


def test_an_app_says_which_tasks_it_has_when_asked_for_another(app: pgjobs.App) -> None:
    with pytest.raises(pgjobs.UnknownTask, match=r"^The app has no task 'read'; it has: none.$"):
        app["read"]
    app.task(read_letter)
    with pytest.raises(pgjobs.UnknownTask, match=r"it has: read_letter.$"):
        app["read"]


def test_a_module_that_is_imported_twice_may_declare_its_tasks_twice(app: pgjobs.App) -> None:
    app.task(read_letter)
    again = app.task(read_letter)
    assert app["read_letter"] is again


def test_two_functions_cannot_have_one_name(app: pgjobs.App) -> None:
    app.task(read_letter)
    with pytest.raises(
        ConfigurationError, match=r"There is a task named read_letter already, in .*give this one another"
    ):
        app.task(name="read_letter")(payload)


def nothing() -> None: ...
async def nothing_async() -> None: ...
def positional(a: int, /) -> None: ...
def any_positions(*letters: int) -> None: ...
def two_contexts(a: JobContext, b: JobContext) -> None: ...
def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1  # fmt: skip


@pytest.mark.parametrize(
    ("function", "options", "why"),
    [
        (positional, {}, "cannot take a: int: a job carries its arguments by name"),
        (any_positions, {}, r"cannot take \*letters: int: a job carries its arguments by name"),
        (two_contexts, {}, "The task two_contexts has two parameters for the JobContext"),
        (generator, {"executor": "async"}, "generator is not a coroutine function: the async executor cannot run it"),
        (async_generator, {"executor": "thread"}, "is a coroutine function: run it by the async or process executor"),
        (nothing_async, {"interrupt": True}, "interrupt of nothing_async is for threads: the async executor stops it"),
        (nothing, {"max_rss": "512MB"}, "max_rss and max_jobs of nothing need executor='process'"),
        (nothing, {"executor": "process", "max_jobs": 0}, "max_jobs of nothing must be 1 or more, not 0"),
        (nothing, {"executor": "process", "max_rss": "much"}, "must be bytes or a text like '512MB', not 'much'"),
        (nothing, {"executor": "process", "max_rss": 0}, "must be bytes or a text like '512MB', not 0"),
        (dict, {"name": "d"}, r"The parameters of the task d cannot be read|cannot take"),
        (lambda: 1, {}, "has no name of its own: give the task one with name="),
        (functools.partial(nothing), {}, "has no name of its own: give the task one with name="),
        ("ocr", {}, "A task is a function, not 'ocr'"),
        (nothing, {"executor": "async"}, "nothing is not a coroutine function: the async executor cannot run it"),
        (nothing_async, {"executor": "thread"}, "is a coroutine function: run it by the async or process executor"),
        (nothing, {"executor": "threads"}, "must be async, thread or process, not 'threads'"),
        (nothing, {"keep": "all"}, "keep of nothing must be 'history' or 'nothing', not 'all'"),
        (nothing, {"retry": 5}, r"retry of nothing must be a backoff like pgjobs.Exponential\(\), a list of waits or a function, not 5"),
        (nothing, {"priority": 3}, "must be one of -2, -1, 0, 1, 2, not 3"),
        (nothing, {"priority": "high"}, "must be one of -2, -1, 0, 1, 2, not 'high'"),
        (nothing, {"max_attempts": 0}, "max_attempts must be a number from 1 to 32767, not 0"),
        (nothing, {"max_attempts": 32_768}, "max_attempts must be a number from 1 to 32767, not 32768"),
        (nothing, {"max_attempts": None}, "max_attempts must be a number from 1 to 32767, not None"),
        (nothing, {"timeout": 0}, "A timeout must be longer than nothing"),
        (nothing, {"timeout": -5}, "A timeout must be longer than nothing"),
        (nothing, {"timeout": "5m"}, "timeout must be seconds or a timedelta, not '5m'"),
        (nothing, {"timeout": float("nan")}, "timeout must be seconds or a timedelta, not nan"),
        (nothing, {"timeout": timedelta.max}, "timeout must not be longer than a century"),
        (nothing, {"queue": ""}, "The name of a queue must have 1 to 200 characters"),
        (nothing, {"queue": "q" * 201}, "The name of a queue must have 1 to 200 characters"),
        (nothing, {"queue": None}, "The name of a queue must have 1 to 200 characters"),
        (nothing, {"queue": "a\0b"}, r"The name of a queue cannot hold control characters or half of a surrogate pair: 'a\\x00b'"),
        (nothing, {"name": "\ud800"}, r"The name of a task cannot hold control characters or half of a surrogate pair"),
        (nothing, {"name": "a\x1b[31m"}, r"The name of a task cannot hold control characters .*: 'a\\x1b\[31m'"),
        (nothing, {"queue": "line\nline"}, "The name of a queue cannot hold control characters"),
        (nothing, {"queue": "\x85"}, "The name of a queue cannot hold control characters"),
        (nothing, {"name": "n" * 10_000}, "The name of a task must have 1 to 200 characters"),
        (nothing, {"version": 0}, "version of nothing must be a number from 1 to 32767, not 0"),
        (nothing, {"version": "2"}, "version of nothing must be a number from 1 to 32767, not '2'"),
        (nothing, {"name": "n" * 201}, "The name of a task must have 1 to 200 characters"),
        (nothing, {"name": ""}, "The name of a task must have 1 to 200 characters"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else getattr(value, "__name__", ""),
)  # fmt: skip
def test_a_declaration_that_makes_no_sense_is_refused_at_once(
    app: pgjobs.App, function: Any, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        app.task(**options)(function) if options else app.task(function)
    assert not app.tasks


def test_a_function_inside_a_function_cannot_be_found_by_a_child_process(app: pgjobs.App) -> None:
    def inner() -> None: ...

    with pytest.raises(ConfigurationError, match="defined inside a function"):
        app.task(executor="process")(inner)


def test_names_in_any_script_are_fine(app: pgjobs.App) -> None:
    assert app.task(name="편지 읽기 ퟻ", queue="Größe 🏔")(nothing).spec().queue == "Größe 🏔"


# The signature is checked when a job is enqueued


def keyword_only(*, letter_id: int, page: int = 1) -> None: ...
def anything(letter_id: int, **more: Any) -> None: ...
def with_context(letter_id: int, run: JobContext, page: int = 1) -> None: ...
def context_and_anything(run: JobContext, **more: Any) -> None: ...
def odd_names(self: int, cls: int, args: int, kwargs: int, task: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "expected"),
    [
        (read_letter, (), {"letter_id": 7, "family_id": 1}, {"letter_id": 7, "family_id": 1}),
        (read_letter, (7, 1), {}, {"letter_id": 7, "family_id": 1}),
        (read_letter, (7,), {"language": "de", "family_id": 1}, {"letter_id": 7, "family_id": 1, "language": "de"}),
        (keyword_only, (), {"letter_id": 7}, {"letter_id": 7}),
        (anything, (7,), {"tenant": "a"}, {"letter_id": 7, "tenant": "a"}),
        (with_context, (7, 2), {}, {"letter_id": 7, "page": 2}),
        (with_context, (), {"letter_id": 7}, {"letter_id": 7}),
        (context_and_anything, (), {"a": 1}, {"a": 1}),
        (odd_names, (), dict.fromkeys(("self", "cls", "args", "kwargs", "task"), 1),
         dict.fromkeys(("self", "cls", "args", "kwargs", "task"), 1)),
        (nothing, (), {}, {}),
    ],
)  # fmt: skip
def test_arguments_that_fit_travel_by_name(
    app: pgjobs.App, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], expected: Any
) -> None:
    task = app.task(function)
    assert payload(task.spec(*args, **kwargs)) == expected
    assert payload(task.options(priority=1).spec(*args, **kwargs)) == expected
    task.check(expected)


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "sentence"),
    [
        (read_letter, (), {"letter_id": 7, "family_id": 1, "lang": 1}, "read_letter has no argument 'lang'."),
        (read_letter, (), {"letter": 7, "lang": 1}, "read_letter has no arguments 'lang', 'letter'."),
        (read_letter, (), {"letter_id": 7}, "read_letter needs the argument 'family_id'."),
        (read_letter, (), {}, "read_letter needs the arguments 'family_id', 'letter_id'."),
        (read_letter, (7,), {"letter_id": 7}, "read_letter got the argument 'letter_id' twice."),
        (read_letter, (1, 2, "en", 4), {}, "read_letter takes 3 by position, but 4 were given."),
        (keyword_only, (7,), {}, "keyword_only takes 0 by position, but 1 were given."),
        (nothing, (), {"x": 1}, "nothing has no argument 'x'."),
        (anything, (), {"more": 1}, "anything needs the argument 'letter_id'."),
        (with_context, (7, 1, 2), {}, "with_context takes 2 by position, but 3 were given."),
        (with_context, (), {"letter_id": 7, "run": 1}, "The argument 'run' of with_context is filled in by the worker."),
        (context_and_anything, (), {"run": 1},
         "The argument 'run' of context_and_anything is filled in by the worker."),
        (read_letter, (7,), {"family_id": {1, 2}}, "read_letter: the argument 'family_id' must be an int, not {1, 2}."),
        (anything, (7,), {"more": {1, 2}},
         "The argument 'more' of anything cannot be enqueued: an object of type set is not JSON serializable."),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit_are_refused_in_a_sentence(
    app: pgjobs.App, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], sentence: str
) -> None:
    task = app.task(function)
    for enqueue in (task.spec, task.enqueue, task.options(queue="q").spec, task.options(queue="q").enqueue):
        with pytest.raises(InvalidPayload) as refused:
            enqueue(*args, **kwargs)
        assert str(refused.value) == sentence
    if not args:  # what a worker checks in a job that came by plain SQL
        with pytest.raises(InvalidPayload) as refused:
            task.check(kwargs)
        assert str(refused.value) == sentence


def test_a_type_checker_sees_the_same_signature(app: pgjobs.App) -> None:
    task = app.task(read_letter)
    # Each `type: ignore` here is an error that mypy must find: with warn_unused_ignores it fails if one is not needed.
    with pytest.raises(InvalidPayload):
        task.spec(letter="7", family_id=1)  # type: ignore[call-arg]
    with pytest.raises(InvalidPayload):
        task.enqueue(7)  # type: ignore[call-arg]
    with pytest.raises(InvalidPayload):
        task.options(delay=5).enqueue(7, 1, colour="red")  # type: ignore[call-arg]
    with pytest.raises(InvalidPayload):
        task.spec("7", 1)  # type: ignore[arg-type]


def test_the_arguments_of_a_caller_are_not_changed(app: pgjobs.App) -> None:
    given: dict[str, Any] = {"family_id": 1}
    app.task(read_letter).spec(7, **given)
    assert given == {"family_id": 1}


# The parameter that receives the JobContext


CONTEXTS = [
    "job: JobContext",
    "anything_at_all: JobContext",
    "job: pgjobs.JobContext",
    "job: JobContext | None = None",
    "job: pgjobs.JobContext | None = None",
    "job: Optional[JobContext] = None",
    "job: typing.Optional[pgjobs.JobContext] = None",
    "job: 'JobContext'",
    "job: Optional['JobContext'] = None",
    "job: Annotated[JobContext, 'the run']",
]


def declared(source: str, future: bool) -> Callable[..., Any]:
    """A function from source, whose annotations are read by Python, or left as text."""
    header = "from __future__ import annotations\n" if future else ""
    imports = "import typing, pgjobs\nfrom typing import Annotated, Optional\nfrom pgjobs import JobContext\n"
    scope: dict[str, Any] = {"__name__": "letters"}
    exec(
        compile(f"{header}{imports}def task({source}): return locals()", "letters.py", "exec", dont_inherit=True), scope
    )
    function: Callable[..., Any] = scope["task"]
    return function


def run_context() -> JobContext:
    now = datetime.now(UTC)
    return JobContext(1, 1, "default", "task", 1, 5, now, now, None)


@pytest.mark.parametrize("future", [True, False], ids=["text", "objects"])
@pytest.mark.parametrize("parameter", CONTEXTS)
def test_a_parameter_annotated_with_the_context_receives_it_by_any_name(
    app: pgjobs.App, parameter: str, future: bool
) -> None:
    name, run = parameter.partition(":")[0], run_context()
    task: Task[..., Any] = app.task(declared(f"letter_id: int, *, {parameter}", future))
    assert payload(task.spec(7)) == {"letter_id": 7}
    assert task(**task.bind({"letter_id": 7}, run)) == {"letter_id": 7, name: run}
    with pytest.raises(InvalidPayload, match="is filled in by the worker"):
        task.spec(letter_id=7, **{name: 1})


@pytest.mark.parametrize("parameter", [each for each in CONTEXTS if "'" not in each and "Annotated" not in each])
def test_it_is_found_even_if_another_annotation_exists_for_type_checkers_only(app: pgjobs.App, parameter: str) -> None:
    run = run_context()
    task: Task[..., Any] = app.task(declared(f"letter: Letter, *, {parameter}", future=True))
    assert task.bind({"letter": 1}, run)[parameter.partition(":")[0]] is run


@pytest.mark.parametrize("future", [True, False], ids=["text", "objects"])
@pytest.mark.parametrize(
    "parameter",
    ["make: type[JobContext]", "job: Optional[int]", "job: 'MyJobContext' = 1", "runs: dict[int, JobContext] | int"],
)
def test_other_parameters_are_arguments_even_if_they_mention_it(app: pgjobs.App, parameter: str, future: bool) -> None:
    task: Task[..., Any] = app.task(declared(parameter, future))
    name = parameter.partition(":")[0]
    assert payload(task.spec(**{name: 1})) == {name: 1}
    assert task.bind({name: 1}, run_context()) == {name: 1}


def test_keywords_of_any_name_are_no_context_whatever_their_annotation(app: pgjobs.App) -> None:
    task: Task[..., Any] = app.task(declared("**more: JobContext", future=False))
    assert payload(task.spec(a=1)) == {"a": 1}


def test_a_decorated_function_shows_the_parameters_of_the_one_inside(app: pgjobs.App) -> None:
    @functools.wraps(with_context)
    def logged(*args: Any, **kwargs: Any) -> None:
        with_context(*args, **kwargs)

    task: Task[..., Any] = app.task(logged)
    run = run_context()
    assert task.bind({"letter_id": 7}, run) == {"letter_id": 7, "run": run}
    with pytest.raises(InvalidPayload, match="needs the argument 'letter_id'"):
        task.spec()


# Options of one job


def test_the_options_of_a_job_go_into_its_spec(app: pgjobs.App) -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    task = app.task(queue="ocr", priority=Priority.LOW)(read_letter)
    spec = task.options(
        queue="slow", priority=Priority.HIGH, delay=90, max_attempts=1, timeout=timedelta(hours=1),
        metadata={"tenant": 7}, notify=False,
    ).spec(1, 2)  # fmt: skip
    assert spec == pgjobs.Spec(
        "read_letter", '{"letter_id":1,"family_id":2}', "slow", -1, timedelta(seconds=90), None, 1, timedelta(hours=1),
        '{"tenant":7}', False,
    )  # fmt: skip
    assert task.options(available_at=at).spec(1, 2).available_at == at
    assert task.options().spec(1, 2) == task.spec(1, 2)
    assert task.spec(1, 2).queue == "ocr"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"delay": 5, "available_at": datetime(2030, 1, 1, tzinfo=UTC)}, "a delay or an available_at, not both"),
        ({"available_at": datetime(2030, 1, 1)}, "available_at needs a time zone"),
        ({"priority": 7}, "must be one of -2, -1, 0, 1, 2, not 7"),
        ({"priority": "high"}, "must be one of -2, -1, 0, 1, 2, not 'high'"),
        ({"max_attempts": 0}, "max_attempts must be a number from 1 to 32767, not 0"),
        ({"max_attempts": "3"}, "max_attempts must be a number from 1 to 32767, not '3'"),
        ({"timeout": 0}, "A timeout must be longer than nothing"),
        ({"timeout": timedelta(0)}, "A timeout must be longer than nothing"),
        ({"delay": "5m"}, "delay must be seconds or a timedelta, not '5m'"),
        ({"delay": float("inf")}, "delay must be seconds or a timedelta, not inf"),
        ({"delay": 1e30}, "delay must be seconds or a timedelta, not 1e"),
        ({"delay": timedelta.max}, "delay must not be longer than a century"),
        ({"queue": ""}, "The name of a queue must have 1 to 200 characters"),
        ({"queue": "a\0"}, "The name of a queue cannot hold control characters"),
        ({"metadata": {"a": {1, 2}}}, "The metadata for read_letter cannot be enqueued: an object of type set"),
        ({"metadata": [1]}, "The metadata of a job is a mapping, not list"),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else "",
)  # fmt: skip
def test_options_that_make_no_sense_are_refused_before_anything_is_sent(
    app: pgjobs.App, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidJob, match=why):
        app.task(read_letter).options(**options)


def test_a_delay_that_is_over_means_now(app: pgjobs.App) -> None:
    assert app.task(read_letter).options(delay=-5).spec(1, 2).delay == timedelta(seconds=-5)
