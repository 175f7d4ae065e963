"""The arguments of a task: checked when they are enqueued and when they run, and the sentence for what does not fit."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

import pgjobs
from pgjobs import ConfigurationError, InvalidPayload, JobContext

if TYPE_CHECKING:
    from letters.reading import Reader  # an annotation that only a type checker can read

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = datetime.now(UTC)
RUN = JobContext(1, 1, "default", "t", 1, 5, NOW, NOW, None)


@dataclass
class Page:
    number: int
    words: list[str] = field(default_factory=list)


@dataclass
class Linked:
    next: Linked | None = None


@dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError(f"{self.value} is not positive")


def read_letter(id: UUID, when: datetime, pages: list[Page], price: Decimal | None = None, **more: int) -> None: ...
def plain(letter_id: int, name: str, factor: float = 1.0) -> None: ...
def unclear(reader: Reader, when: datetime) -> None: ...
def implicit(page: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013
def with_context(job: JobContext, when: datetime) -> None: ...
def not_annotated(value, when: datetime): ...  # type: ignore[no-untyped-def]
def linked(first: Linked | None) -> None: ...
def positive(number: Positive) -> None: ...
def optional(page: Page | None = None) -> None: ...


@pytest.fixture
def declare() -> Callable[..., pgjobs.Task[..., Any]]:
    """Make a function a task of an app that is never asked to connect."""
    return lambda function, **options: pgjobs.App("host=nowhere.invalid").task(**options)(function)


Declare = Callable[..., pgjobs.Task[..., Any]]

ID = "12345678-1234-5678-1234-567812345678"


def test_arguments_travel_as_json_and_come_back_as_they_were(declare: Declare) -> None:
    task = declare(read_letter)
    given = {"id": UUID(ID), "when": NOON, "pages": [Page(1, ["a"])], "price": Decimal("1.10"), "extra": 7}
    payload = json.loads(task.spec(**given).payload)
    assert payload == {
        "id": ID, "when": "2026-03-01T12:00:00+00:00", "pages": [{"number": 1, "words": ["a"]}], "price": "1.10",
        "extra": 7,
    }  # fmt: skip
    assert task.bind(task.present(payload, None), RUN) == given
    task.check(payload)


@pytest.mark.parametrize(
    ("function", "arguments", "sentence"),
    [
        (plain, {"letter_id": "3", "name": "x"}, "plain: the argument 'letter_id' must be an int, not '3'."),
        (plain, {"letter_id": True, "name": "x"}, "plain: the argument 'letter_id' must be an int, not True."),
        (plain, {"letter_id": 3, "name": None}, "plain: the argument 'name' must be a str, not None."),
        (with_context, {"when": "2026-13-01"},
         "with_context: the argument 'when' must be a datetime with a time zone, not '2026-13-01'."),
        (with_context, {"when": datetime(2026, 3, 1)},
         "with_context: the argument 'when' must be a datetime with a time zone, not '2026-03-01T00:00:00': a naive one"
         " means a different moment to every server."),
        (optional, {"page": Page(1, ["a", 2])},  # type: ignore[list-item]
         "optional: the argument 'page.words[1]' must be a str, not 2."),
        (read_letter, {"id": UUID(ID), "when": NOON, "pages": [], "extra": "7"},
         "read_letter: the argument 'extra' must be an int, not '7'."),
    ],
)  # fmt: skip
def test_an_argument_of_a_wrong_type_is_refused_by_its_name_and_place(
    declare: Declare, function: Any, arguments: dict[str, Any], sentence: str
) -> None:
    task = declare(function)
    for enqueue in (task.spec, task.enqueue, task.options(delay=5).enqueue):
        with pytest.raises(InvalidPayload) as refused:
            enqueue(**arguments)
        assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("function", "payload", "sentence"),
    [
        (plain, {"letter_id": "3", "name": "x"}, "plain: the argument 'letter_id' must be an int, not '3'."),
        (with_context, {"when": "2026-13-01"},
         "with_context: the argument 'when' must be a datetime with a time zone, not '2026-13-01'."),
        (optional, {"page": {"words": []}}, "optional: the argument 'page' needs the field 'number'."),
        (optional, {"page": {"number": 1, "size": 2}},
         "optional: the argument 'page' has a field 'size' that a Page has not."),
    ],
)  # fmt: skip
def test_json_of_a_wrong_type_is_refused_where_it_is_to_run(
    declare: Declare, function: Any, payload: dict[str, Any], sentence: str
) -> None:
    task = declare(function)
    for read in (task.check, lambda payload: task.bind(payload, RUN)):
        with pytest.raises(InvalidPayload) as refused:
            read(payload)
        assert str(refused.value) == sentence


def test_an_int_for_a_float_arrives_as_a_float(declare: Declare) -> None:
    task = declare(plain)
    payload = json.loads(task.spec(1, "x", factor=3).payload)
    assert payload == {"letter_id": 1, "name": "x", "factor": 3}
    assert type(task.bind(payload, RUN)["factor"]) is float


def test_a_default_of_none_says_that_none_is_fine(declare: Declare) -> None:
    task = declare(implicit)
    assert task.bind(json.loads(task.spec(page=None).payload), RUN) == {"page": None}
    with pytest.raises(InvalidPayload, match="must be an int or None, not 'x'"):
        task.spec(page="x")


def test_an_annotation_that_cannot_be_read_spoils_no_other(declare: Declare) -> None:
    task = declare(unclear)
    assert task.bind(json.loads(task.spec(reader={"any": 1}, when=NOON).payload), RUN) == {
        "reader": {"any": 1},
        "when": NOON,
    }
    with pytest.raises(
        InvalidPayload, match=r"^The argument 'reader' of unclear cannot be enqueued: an object of type"
    ):
        task.spec(reader=object(), when=NOON)


def test_what_is_not_annotated_is_not_checked(declare: Declare) -> None:
    task = declare(not_annotated)
    assert task.bind(json.loads(task.spec([1, {"a": None}], NOON).payload), RUN) == {
        "value": [1, {"a": None}],
        "when": NOON,
    }


def test_the_annotations_of_a_partial_and_of_a_decorated_function_are_read_where_they_were_written(
    declare: Declare,
) -> None:
    @functools.wraps(with_context)
    def wrapped(*args: Any, **kwargs: Any) -> None: ...

    assert json.loads(declare(wrapped).spec(when=NOON).payload) == {"when": "2026-03-01T12:00:00+00:00"}
    partial = declare(functools.partial(read_letter, price=None), name="partial")
    assert json.loads(partial.spec(id=UUID(ID), when=NOON, pages=[]).payload)["id"] == ID


def test_what_the_application_raises_is_the_cause_of_the_refusal(declare: Declare) -> None:
    with pytest.raises(InvalidPayload, match="the argument 'number' cannot be made: ValueError: -1 is not") as refused:
        declare(positive).check({"number": {"value": -1}})
    assert isinstance(refused.value.__cause__, ValueError)


def test_what_contains_itself_is_refused_and_what_is_linked_is_not(declare: Declare) -> None:
    task, chain = declare(linked), Linked()
    for _ in range(50):
        chain = Linked(chain)
    assert task.bind(json.loads(task.spec(chain).payload), RUN) == {"first": chain}
    ring = Linked()
    ring.next = ring
    with pytest.raises(InvalidPayload, match=r"^linked: the argument 'first' is nested too deeply\.$"):
        task.spec(ring)


def test_the_arguments_of_a_payload_are_not_changed_where_they_lie(declare: Declare) -> None:
    payload = {"when": "2026-03-01T12:00:00+00:00"}
    declare(with_context).bind(payload, RUN)
    assert payload == {"when": "2026-03-01T12:00:00+00:00"}


# Versions


def versioned(letter_id: int, language: str) -> None: ...


def test_a_payload_of_an_old_version_is_brought_up_step_by_step(declare: Declare) -> None:
    task = declare(versioned, version=3)

    @task.upcast(from_version=1)
    def renamed(payload: dict[str, Any]) -> dict[str, Any]:
        return {"letter_id": payload["id"]}

    @task.upcast(from_version=2)
    def with_language(payload: dict[str, Any]) -> dict[str, Any]:
        return {**payload, "language": "en"}

    task.check_upcasters()
    for version, payload in [(None, {"id": 7}), (1, {"id": 7}), (2, {"letter_id": 7})]:
        assert task.present(payload, version) == {"letter_id": 7, "language": "en"}
    assert task.present({"letter_id": 7, "language": "de"}, 3) == {"letter_id": 7, "language": "de"}
    assert renamed({"id": 1}) == {"letter_id": 1}
    assert task.spec(7, "de").version == 3
    assert declare(versioned).spec(7, "de").version is None


def test_a_version_without_an_upcaster_is_found_before_a_worker_starts() -> None:
    app = pgjobs.App("host=nowhere.invalid")
    task = app.task(version=3)(versioned)
    task.upcast(from_version=2)(lambda payload: payload)
    with pytest.raises(ConfigurationError) as refused:
        app.make_worker()
    with pytest.raises(ConfigurationError, match="has no upcaster from version 1"):
        task.present({}, 2)
    with pytest.raises(InvalidPayload, match=r"^The payload is of version 4, and versioned is at version 3\.$"):
        task.present({}, 4)
    assert str(refused.value) == (
        "The task versioned is at version 3 and has no upcaster from version 1:"
        " write one, decorated with @versioned.upcast(from_version=1)."
    )


@pytest.mark.parametrize("version", [0, 2, 3, "1"])
def test_an_upcaster_from_a_version_that_is_none_is_refused(declare: Declare, version: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"it can have no upcaster from version {version!r}"):
        declare(versioned, version=2).upcast(from_version=version)


def test_a_second_upcaster_from_a_version_is_refused(declare: Declare) -> None:
    task = declare(versioned, version=2)
    task.upcast(from_version=1)(lambda payload: payload)
    with pytest.raises(ConfigurationError, match="versioned has an upcaster from version 1 already"):
        task.upcast(from_version=1)


def test_an_upcaster_that_returns_no_payload_is_told_of(declare: Declare) -> None:
    task = declare(versioned, version=2)
    task.upcast(from_version=1)(lambda payload: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(InvalidPayload, match="The upcaster of versioned from version 1 must return a dict, not None"):
        task.present({}, None)
