"""How values travel: what each annotation takes, what it looks like in JSON, and what is said of what it does not take."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, IntFlag, StrEnum, auto
from operator import getitem
from pathlib import Path, PurePath
from types import GenericAlias, MappingProxyType
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgjobs.errors import InvalidResult
from pgjobs.forms import ANY, Form, Mismatch, form_of, plain
from pgjobs.job import JobId
from pgjobs.payload import decode, encode_result

T = TypeVar("T")
Number = NewType("Number", int)
NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
SOME_ID = UUID("12345678-1234-5678-1234-567812345678")


class Color(StrEnum):
    RED = "red"
    GREEN = "green"


class Size(IntEnum):
    SMALL = 1
    BIG = 3


class Shape(Enum):
    ROUND = (0, 0)
    LONG = (1, 9)


class Access(IntFlag):
    READ = auto()
    WRITE = auto()


@dataclass
class Page:
    number: int
    seen: datetime | None = None
    tags: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Letter:
    id: UUID
    pages: list[Page] = field(default_factory=list)
    answers: Letter | None = None
    length: int = field(init=False, default=0)


@dataclass
class Better(Page):
    quality: float = 1.0


@dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise ValueError(f"{self.value} is not positive")


@dataclass
class Box(Generic[T]):
    content: T


class Point(NamedTuple):
    x: int
    y: float = 0.0
    at: date | None = None


class Address(TypedDict):
    street: str
    since: NotRequired[date]


class Partial(Address, total=False):
    floor: int


class Model(pydantic.BaseModel):
    id: int
    due: datetime
    inner: list[Decimal] = pydantic.Field(default_factory=list, alias="in")


class StrictModel(pydantic.BaseModel, strict=True):
    due: datetime
    tags: set[str]


class Roots(pydantic.RootModel[list[int]]):
    pass


FITTING: list[tuple[Any, Any, Any]] = [  # annotation, value, what is in the JSON
    (int, 3, 3),
    (int, 10**400, 10**400),
    (bool, True, True),
    (float, 1.5, 1.5),
    (str, "é\n", "é\n"),
    (None, None, None),
    (type(None), None, None),
    (bytes, b"\x00\xff", "AP8="),
    (datetime, NOON, "2026-03-01T12:00:00.123456+00:00"),
    (datetime, NOON.astimezone(timezone(timedelta(hours=5, minutes=30))), "2026-03-01T17:30:00.123456+05:30"),
    (date, date(2026, 3, 1), "2026-03-01"),
    (time, time(12, 30, 1, 5), "12:30:01.000005"),
    (time, time(12, tzinfo=UTC), "12:00:00+00:00"),
    (timedelta, timedelta(minutes=5), 300),
    (timedelta, timedelta(days=-1, microseconds=1), -86399.999999),
    (Decimal, Decimal("1.10"), "1.10"),
    (UUID, SOME_ID, "12345678-1234-5678-1234-567812345678"),
    (Path, Path("/letters/a b"), "/letters/a b"),
    (PurePath, PurePath("a"), "a"),
    (Color, Color.RED, "red"),
    (Size, Size.BIG, 3),
    (Shape, Shape.LONG, "LONG"),
    (Access, Access.READ | Access.WRITE, 3),
    (Literal["a", 1, None, Color.RED], "a", "a"),
    (Literal["a", 1, None, Color.GREEN], Color.GREEN, "green"),
    (list[int], [1, 2], [1, 2]),
    (list[date], [date(2026, 3, 1)], ["2026-03-01"]),
    (list, [1, "a"], [1, "a"]),
    (tuple[int, str], (1, "a"), [1, "a"]),
    (tuple[date, ...], (date(2026, 3, 1),), ["2026-03-01"]),
    (tuple, (1, "a"), [1, "a"]),
    (set[int], {7}, [7]),
    (frozenset[UUID], frozenset({SOME_ID}), [str(SOME_ID)]),
    (AbstractSet[int], {7}, [7]),
    (Sequence[int], [1], [1]),
    (Collection[date], [date(2026, 3, 1)], ["2026-03-01"]),
    (dict, {"a": [1]}, {"a": [1]}),
    (dict[str, date], {"a": date(2026, 3, 1)}, {"a": "2026-03-01"}),
    (dict[int, str], {1: "a", -2: "b"}, {"1": "a", "-2": "b"}),
    (dict[Size, int], {Size.BIG: 1}, {"3": 1}),
    (dict[UUID, Color], {SOME_ID: Color.RED}, {str(SOME_ID): "red"}),
    (Mapping[str, int], {"a": 1}, {"a": 1}),
    (Page, Page(1), {"number": 1, "seen": None, "tags": []}),
    (Page, Page(1, NOON, {"x"}), {"number": 1, "seen": "2026-03-01T12:00:00.123456+00:00", "tags": ["x"]}),
    (Letter, Letter(SOME_ID, [Page(1)], Letter(SOME_ID)),
     {"id": str(SOME_ID), "pages": [{"number": 1, "seen": None, "tags": []}],
      "answers": {"id": str(SOME_ID), "pages": [], "answers": None}}),
    (Better, Better(1, quality=0.5), {"number": 1, "seen": None, "tags": [], "quality": 0.5}),
    (Box[int], Box("x"), {"content": "x"}),
    (Point, Point(1, 2.5, date(2026, 3, 1)), [1, 2.5, "2026-03-01"]),
    (Address, {"street": "x"}, {"street": "x"}),
    (Address, {"street": "x", "since": date(2026, 3, 1)}, {"street": "x", "since": "2026-03-01"}),
    (Partial, {"street": "x"}, {"street": "x"}),
    (Model, Model.model_validate({"id": 1, "due": NOON, "in": ["1.10"]}),
     {"id": 1, "due": "2026-03-01T12:00:00.123456Z", "in": ["1.10"]}),
    (StrictModel, StrictModel(due=NOON, tags={"a"}), {"due": "2026-03-01T12:00:00.123456Z", "tags": ["a"]}),
    (Roots, Roots([1, 2]), [1, 2]),
    (int | None, 3, 3),
    (Optional[date], None, None),  # noqa: UP045 - the old spelling is another object
    (Optional[date], date(2026, 3, 1), "2026-03-01"),  # noqa: UP045
    (Union[int, str], "3", "3"),  # noqa: UP007
    (int | float, 3, 3),
    (float | int, 3, 3),
    (float | int, 3.0, 3.0),
    (str | datetime, "no time", "no time"),
    (str | datetime, NOON, "2026-03-01T12:00:00.123456+00:00"),
    (date | datetime, NOON, "2026-03-01T12:00:00.123456+00:00"),
    (datetime | date, date(2026, 3, 1), "2026-03-01"),
    (str | Literal["auto"], "auto", "auto"),
    (Page | Letter, Letter(SOME_ID), {"id": str(SOME_ID), "pages": [], "answers": None}),
    (list[Page | None], [None, Page(1)], [None, {"number": 1, "seen": None, "tags": []}]),
    (dict[str, int] | list[int] | None, [1], [1]),
    (bool | int, True, True),
    (int | bool, True, True),
    (Number, 3, 3),
    (Annotated[int, "the number"], 3, 3),
    (Any, {"a": [1]}, {"a": [1]}),
    (object, 3, 3),
    (T, 3, 3),
    ("NotDefinedAnywhere", 3, 3),
    (type[int], 3, 3),
    (int | type[int], "x", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "text"), FITTING, ids=lambda value: "")
def test_what_fits_comes_back_as_it_was(annotation: Any, value: Any, text: Any) -> None:
    form = form_of(annotation)
    dumped = form.dump(value)
    assert repr(dumped) == repr(text)
    back = form.load(json.loads(json.dumps(dumped)))
    assert (type(back), back) == (type(value), value)
    if type(value) in form.dumps_as_is:
        assert dumped is value
    if type(dumped) in form.loads_as_is:
        assert form.load(dumped) is dumped


ONE_WAY: list[tuple[Any, Any, Any, Any]] = [  # annotation, value, JSON, what comes back
    (float, 3, 3, 3.0),
    (float | None, 3, 3, 3.0),
    (int, Size.BIG, 3, 3),
    (int, JobId(7), 7, 7),
    (str, Color.RED, "red", "red"),
    (datetime, datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Vienna")), "2026-07-01T12:00:00+02:00",
     datetime(2026, 7, 1, 10, tzinfo=UTC)),
    (Sequence[int], (1, 2), [1, 2], [1, 2]),
    (Iterable[int], {1}, [1], [1]),
    (Mapping[str, int], MappingProxyType({"a": 1}), {"a": 1}, {"a": 1}),
    (list[int], type("MyList", (list,), {})([1]), [1], [1]),
    (tuple[int, float, None], Point(1, 2.0), [1, 2.0, None], (1, 2.0, None)),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "text", "back"), ONE_WAY, ids=lambda value: "")
def test_what_is_as_good_comes_back_as_the_annotation_says(annotation: Any, value: Any, text: Any, back: Any) -> None:
    form = form_of(annotation)
    dumped = json.loads(json.dumps(form.dump(value)))
    assert dumped == text
    assert form.load(dumped) == back
    assert type(form.load(dumped)) is type(back)


NOT_DUMPED: list[tuple[Any, Any, str]] = [
    (int, "3", "it must be an int, not '3'"),
    (int, 3.0, "it must be an int, not 3.0"),
    (int, True, "it must be an int, not True"),
    (int, None, "it must be an int, not None"),
    (float, True, "it must be a float, not True"),
    (float, "1.5", "it must be a float, not '1.5'"),
    (float, Decimal(1), "it must be a float, not Decimal('1')"),
    (bool, 1, "it must be a bool, not 1"),
    (str, b"x", "it must be a str, not b'x'"),
    (bytes, "x", "it must be bytes, not 'x'"),
    (datetime, "2026-13-01", "it must be a datetime with a time zone, not '2026-13-01'"),
    (datetime, datetime(2026, 3, 1),
     "it must be a datetime with a time zone, not '2026-03-01T00:00:00': a naive one means a different moment to every server"),
    (datetime | None, datetime(2026, 3, 1),
     "it must be a datetime with a time zone, not '2026-03-01T00:00:00': a naive one means a different moment to every server"),
    (datetime, date(2026, 3, 1), "it must be a datetime with a time zone, not datetime.date(2026, 3, 1)"),
    (date, NOON, "it must be a date, not datetime.datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=datetime.timezone.utc)"),
    (timedelta, 5, "it must be a timedelta, not 5"),
    (timedelta, timedelta.max, "it is too long to be kept to the microsecond: 999999999 days, 23:59:59.999999"),
    (Color, "red", "it must be a Color, not 'red'"),
    (Size, 3, "it must be a Size, not 3"),
    (Access, 3, "it must be an Access, not 3"),
    (Literal["a", 1], "b", "it must be one of 'a', 1, not 'b'"),
    (Literal["a", 1], True, "it must be one of 'a', 1, not True"),
    (Literal["a", 1], [], "it must be one of 'a', 1, not []"),
    (list[int], (1,), "it must be a list, not (1,)"),
    (list[int], [1, "2"], "its [1] must be an int, not '2'"),
    (dict[str, list[int]], {"a": [1], "b": [1, None]}, "its ['b'][1] must be an int, not None"),
    (dict[int, int], {"1": 1}, "its ['1'] must be an int, not '1'"),
    (dict[int | str, int], {1: 1}, "its [1] is a key that would not be read back as what it is"),
    (Sequence[str], "abc", "it must be a list or a tuple, not 'abc'"),
    (tuple[int, str], (1,), "it must be a tuple of 2, not (1,)"),
    (tuple[int, str], (1, 2), "its [1] must be a str, not 2"),
    (set[int], [1], "it must be a set, not [1]"),
    (Page, {"number": 1}, "it must be a Page, not {'number': 1}"),
    (Page, Better(1), "it must be a Page, not Better(number=1, seen=None, tags=set(), quality=1.0)"),
    (Page, Page("1"),  # type: ignore[arg-type]
     "its .number must be an int, not '1'"),
    (Page | None, Page(1, tags={1}),  # type: ignore[arg-type]
     "its .tags[0] must be a str, not 1"),
    (Letter, Letter(SOME_ID, [Page(1), Page(2, seen=datetime(2026, 3, 1))]),
     "its .pages[1].seen must be a datetime with a time zone, not '2026-03-01T00:00:00': a naive one means a different"
     " moment to every server"),
    (Address, {"since": date(2026, 3, 1)}, "it needs the field 'street'"),
    (Address, {"street": "x", "town": "y"}, "it has a field 'town' that an Address has not"),
    (Partial, {"street": "x", "floor": "1"}, "its .floor must be an int, not '1'"),
    (Point, (1, 2), "it must be a Point, not (1, 2)"),
    (Model, {"id": 1}, "it must be a Model, not {'id': 1}"),
    (int | str, 1.5, "it must be an int or a str, not 1.5"),
    (str | UUID, str(SOME_ID), f"it is a str that would be read back as a UUID: '{SOME_ID}'"),
    (bytes | str, "AP8=", "it is a str that would be read back as bytes: 'AP8='"),
    (list[int] | set[int], {1}, "it is a set that would be read back as a list: {1}"),
    (int | timedelta, timedelta(seconds=5), "it is a timedelta that would be read back as an int: datetime.timedelta(seconds=5)"),
    (str, type("Odd", (), {"__repr__": lambda self: 1 / 0})(), "it must be a str, not <Odd instance at "),
    (str, 10**5_000, "it must be a str, not an int"),
    (int, "x" * 10_000, "it must be an int, not 'xxxxx"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "sentence"), NOT_DUMPED, ids=lambda value: "")
def test_what_does_not_fit_is_refused_by_its_place(annotation: Any, value: Any, sentence: str) -> None:
    with pytest.raises(Mismatch) as refused:
        form_of(annotation).dump(value)
    assert str(refused.value).startswith(sentence)
    assert len(str(refused.value)) < 250


NOT_LOADED: list[tuple[Any, Any, str]] = [
    (int, "3", "it must be an int, not '3'"),
    (int, 3.0, "it must be an int, not 3.0"),
    (int, True, "it must be an int, not True"),
    (float, True, "it must be a float, not True"),
    (float, math.inf, "it must be a float, not inf"),
    (float, 10**400, "it must be a float, not 1000"),
    (str, None, "it must be a str, not None"),
    (bytes, "not base64!", "it must be bytes as text in base64, not 'not base64!'"),
    (datetime, "2026-13-01", "it must be a datetime with a time zone, not '2026-13-01'"),
    (datetime, "2026-03-01T12:00:00", "it must be a datetime with a time zone, not '2026-03-01T12:00:00': a naive one"),
    (datetime, 1772366400, "it must be a datetime with a time zone, not 1772366400"),
    (date, "2026-03-01T12:00:00+00:00", "it must be a date, not '2026-03-01T12:00:00+00:00'"),
    (timedelta, "5", "it must be a timedelta as a number of seconds, not '5'"),
    (timedelta, 1e300, "it must be a timedelta as a number of seconds, not 1e+300"),
    (Decimal, 1.1, "it must be a Decimal as text, not 1.1"),
    (Decimal, "one", "it must be a Decimal as text, not 'one'"),
    (Decimal, "Infinity", "it must be a finite number, not Infinity"),
    (UUID, "x", "it must be a UUID, not 'x'"),
    (Color, "blue", "it must be a Color, not 'blue'"),
    (Size, True, "it must be a Size, not True"),
    (Access, "1", "it must be an Access, not '1'"),
    (list[int], {}, "it must be a list, not {}"),
    (set[int], [1, "x"], "its [1] must be an int, not 'x'"),
    (tuple[int, int], [1], "it must be a tuple of 2, not [1]"),
    (dict[int, int], {"one": 1}, "its ['one'] must be an int, not 'one'"),
    (dict[str, int], [], "it must be a dict, not []"),
    (Page, {}, "it needs the field 'number'"),
    (Page, {"number": 1, "colour": "red"}, "it has a field 'colour' that a Page has not"),
    (Page, [1], "it must be a Page, not [1]"),
    (list[Page] | None, [{"number": 1}, {"number": "x"}], "its [1].number must be an int, not 'x'"),
    (Positive, {"value": -1}, "it cannot be made: ValueError: -1 is not positive"),
    (Point, [], "it must be a Point, not []"),
    (Model, {"id": "x", "due": "2026-03-01T12:00:00Z"},
     "its .id does not fit Model: Input should be a valid integer, unable to parse string as an integer"),
    (Model, {"id": 1, "due": "2026-03-01T12:00:00Z", "in": [1, "x"]}, "its .in[1] does not fit Model: Input should be"),
    (Model, None, "it must be a Model, not None"),
    (Roots, ["x"], "its [0] does not fit Roots: Input should be a valid integer"),
    (int | date | None, "x", "it must be an int or a date or None, not 'x'"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "sentence"), NOT_LOADED, ids=lambda value: "")
def test_json_that_does_not_fit_is_refused_by_its_place(annotation: Any, value: Any, sentence: str) -> None:
    with pytest.raises(Mismatch) as refused:
        form_of(annotation).load(value)
    assert str(refused.value).startswith(sentence)


def test_what_an_annotation_leaves_out_is_filled_in_by_the_class() -> None:
    assert form_of(Page).load({"number": 1}) == Page(1)
    assert form_of(Point).load([1]) == Point(1)
    assert form_of(Letter).load({"id": str(SOME_ID)}) == Letter(SOME_ID)


def test_a_typed_dict_may_have_more_in_json_than_we_know() -> None:
    assert form_of(Address).load({"street": "x", "town": ["y"]}) == {"street": "x", "town": ["y"]}


def test_an_annotation_we_know_nothing_of_is_not_checked() -> None:
    for annotation in (Any, object, T, "Text", type[int], pytest.MonkeyPatch, [int], 7, list[int] | Any):
        assert form_of(annotation) is ANY


SIMPLE: list[Any] = [int, str, bool, float, type(None), bytes, date, time, timedelta, Decimal, UUID, Color, Size]
some_annotation: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([*SIMPLE, datetime, Shape, Literal["a", 7, None]]),
    lambda inner: st.one_of(
        inner.map(lambda each: GenericAlias(list, (each,))),
        inner.map(lambda each: GenericAlias(tuple, (each, ...))),
        st.tuples(inner, inner).map(lambda pair: GenericAlias(tuple, pair)),
        inner.map(lambda each: GenericAlias(dict, (str, each))),
        st.tuples(st.sampled_from([int, UUID, date, Size]), inner).map(lambda pair: GenericAlias(dict, pair)),
        st.tuples(inner, inner).map(lambda pair: getitem(Union, pair)),
    ),
    max_leaves=4,
)
st.register_type_strategy(
    datetime, st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]))
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), annotation=some_annotation)
def test_whatever_is_accepted_comes_back_equal(data: st.DataObject, annotation: Any) -> None:
    value = data.draw(st.from_type(annotation))
    form = form_of(annotation)
    why = ""
    try:
        dumped = form.dump(value)
        text = json.dumps(dumped, allow_nan=False)
    except ValueError as refused:
        why = str(refused)
    assert not why or any(
        word in why
        for word in ("would not be read", "would be read", "too long", "a finite number", "not JSON compliant")
    )
    if why:
        return
    back = form.load(decode(text))
    assert back == value
    assert shape(back) == shape(value)


def shape(value: Any) -> Any:
    """The types inside: 1 and 1.0 are equal, and a handler can tell them apart."""
    if isinstance(value, dict):
        return [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [type(value), *map(shape, value)]
    return type(value)


# Results: by what they are


def test_a_result_is_written_as_what_it_is() -> None:
    result = {
        "page": Page(1, NOON, {"x"}), "model": Model(id=1, due=NOON), "list": [SOME_ID, Decimal("1.10"), Shape.LONG],
        Color.RED: (timedelta(seconds=1.5), b"\xff", Path("a"), date(2026, 3, 1)), SOME_ID: frozenset({1}),
    }  # fmt: skip
    assert json.loads(encode_result(result, task="t")) == {
        "page": {"number": 1, "seen": "2026-03-01T12:00:00.123456+00:00", "tags": ["x"]},
        "model": {"id": 1, "due": "2026-03-01T12:00:00.123456Z", "in": []},
        "list": [str(SOME_ID), "1.10", "LONG"],
        "red": [1.5, "/w==", "a", "2026-03-01"],
        str(SOME_ID): [1],
    }


def test_a_result_that_does_not_fit_is_refused_by_its_place() -> None:
    for result, sentence in [
        ({"pages": [Page(1, datetime(2026, 3, 1))]}, "its ['pages'][0].seen must be a datetime with a time zone"),
        ([{1: NOON}], "the key 1 of a mapping is not a string"),
        ([NOON, object()], "an object of type object is not JSON serializable"),
    ]:
        with pytest.raises(InvalidResult, match=r"^The result of t cannot be kept: ") as refused:
            encode_result(result, task="t")
        assert sentence in str(refused.value)


def test_what_has_no_form_is_left_to_the_encoder() -> None:
    something = object()
    assert plain([something]) == [something]


def test_a_form_says_what_it_is() -> None:
    assert isinstance(form_of(int), Form)
    assert form_of(dict[str, int] | None).noun == "a dict or None"
