"""What may travel as JSON, and the sentence for what may not."""

from __future__ import annotations

import json
import math
import types
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pgjobs.errors import InvalidPayload, InvalidResult
from pgjobs.payload import MAX_DEPTH, decode, encode_metadata, encode_payload, encode_result, storable


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def itself() -> Any:
    value: list[Any] = []
    value.append({"again": value})
    return value


class Color(StrEnum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


REFUSED = [
    ("a\0b", "it contains a NUL character, which PostgreSQL cannot keep"),
    (["deep", {"in": "\0"}], "it contains a NUL character, which PostgreSQL cannot keep"),
    ({"key\0": 1}, "it contains a NUL character, which PostgreSQL cannot keep"),
    (("in a tuple\0",), "it contains a NUL character, which PostgreSQL cannot keep"),
    ("\ud83d", "it contains half of a surrogate pair, which is not text"),
    ("\ud83d\ude00", "it contains half of a surrogate pair, which is not text"),
    ({"\udc00": 1}, "it contains half of a surrogate pair, which is not text"),
    (math.nan, "NaN and infinity are not JSON"),
    ([1.0, -math.inf], "NaN and infinity are not JSON"),
    ({1: "one"}, "the key 1 of a mapping is not a string"),
    ([{"fine": {None: 1}}], "the key None of a mapping is not a string"),
    ([[({True: 1},)]], "the key True of a mapping is not a string"),
    ({(1, 2): 3}, "keys must be str, int, float, bool or None, not tuple"),
    (itself(), "it contains itself"),
    (nested(MAX_DEPTH), "it is nested too deeply"),
    (nested(100_000), "it is nested too deeply"),
    (10**5_000, "it holds an integer of thousands of digits"),
    ([object()], "an object of type object is not JSON serializable"),
    (1 + 2j, "an object of type complex is not JSON serializable"),
]


# What has a form in JSON, if an annotation says that it is to be read back as such.
REFUSED_UNLESS_ANNOTATED = [
    ({1, 2}, "an object of type set is not JSON serializable"),
    (b"bytes", "an object of type bytes is not JSON serializable"),
    (datetime(2026, 1, 1), "an object of type datetime is not JSON serializable"),
]


@pytest.mark.parametrize(
    ("value", "why"), REFUSED + REFUSED_UNLESS_ANNOTATED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_an_argument_that_is_not_json_is_refused_by_its_name(value: Any, why: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        encode_payload({"fine": 1, "letter": value, "also_fine": "x"}, task="read_letter")
    assert str(refused.value) == f"The argument 'letter' of read_letter cannot be enqueued: {why}."


@pytest.mark.parametrize(("value", "why"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_result_that_is_not_json_is_refused_with_the_name_of_its_task(value: Any, why: str) -> None:
    too_deep = nested(MAX_DEPTH + 1) if why == "it is nested too deeply" else value
    with pytest.raises(InvalidResult) as refused:
        encode_result(too_deep, task="read_letter")
    assert str(refused.value) == f"The result of read_letter cannot be kept: {why}."


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_an_argument_whose_very_name_is_no_text_is_refused(name: str) -> None:
    with pytest.raises(InvalidPayload, match=r"^The argument '(a\\x00b|\\ud800)' of t cannot be enqueued: it contains"):
        encode_payload({name: 1}, task="t")


def test_the_errors_of_payloads_are_errors_of_pgjobs_alone() -> None:
    with pytest.raises(InvalidPayload) as refused:
        encode_payload({"x": math.nan}, task="t")
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_backslash_before_u0000_is_not_a_nul() -> None:
    text = encode_payload({"path": "C:\\u0000\\new"}, task="t")
    assert json.loads(text) == {"path": "C:\\u0000\\new"}


def test_numbers_with_an_exponent_inside_strings_stay_as_they_are() -> None:
    value = ['a "1e+23" b', "1e+23", '\\"1e+5', 1e23, -2.5e300, "\\"]
    text = encode_result(value, task="t")
    assert json.loads(text) == value
    assert "99999999999999991611392.0" in text


def test_enums_and_tuples_become_what_json_has_for_them() -> None:
    assert encode_payload({"c": Color.RED, "s": Size.BIG, "t": (1, 2)}, task="t") == '{"c":"red","s":3,"t":[1,2]}'
    assert encode_payload({"m": {Color.RED: 1}}, task="t") == '{"m":{"red":1}}'


def test_text_is_kept_as_text_and_not_as_escapes() -> None:
    assert encode_payload({"city": "Zürich 🏔"}, task="t") == '{"city":"Zürich 🏔"}'


def test_no_result_is_null() -> None:
    assert encode_result(None, task="t") == "null"


def test_metadata_is_any_mapping() -> None:
    assert encode_metadata(types.MappingProxyType({"tenant": 7}), task="t") == '{"tenant":7}'


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        (["a"], "The metadata of a job is a mapping, not list."),
        ("text", "The metadata of a job is a mapping, not str."),
        ({1: 2}, "The metadata for t cannot be enqueued: the key 1 of a mapping is not a string."),
        ({"a": {"b": "\0"}}, "The metadata for t cannot be enqueued: it contains a NUL character, which PostgreSQL"),
    ],
)
def test_metadata_that_is_not_json_is_refused(metadata: Any, why: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        encode_metadata(metadata, task="t")
    assert str(refused.value).startswith(why)


def test_what_python_cannot_hold_is_a_value_error() -> None:
    for text in ("[" * 100_000 + "]" * 100_000, "1" * 5_000, "", "{", "nonsense"):
        with pytest.raises(ValueError):  # noqa: PT011 - which one does not matter, that it is one does
            decode(text)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=anything)
@example(value=1e23)
@example(value=[1e16, 1.7976931348623157e308, 5e-324, -1e22, 123456789.0e15, 1.5e-7])
@example(value={"a": 10**4_000, "b": -(10**400)})
@example(value={"": {"": ""}, "\\u0000": "\\u0000\\\\"})
@example(value="\x01\x1f\x7f\u2028\uffff\U0010ffff")
def test_what_is_accepted_is_kept_by_postgresql_and_comes_back_equal(db: psycopg.Connection[Any], value: Any) -> None:
    try:
        text = encode_payload({"value": value}, task="t")
    except InvalidPayload as refused:
        why = str(refused)
    else:
        why = ""
        back = through_jsonb(db, text)["value"]
        assert back == value
        assert shape(back) == shape(value)
    assert not why or any(word in why for word in ("NUL", "surrogate", "NaN"))


def test_what_is_nested_as_deeply_as_allowed_comes_back_equal(db: psycopg.Connection[Any]) -> None:
    value = nested(MAX_DEPTH - 1)
    assert through_jsonb(db, encode_payload({"value": value}, task="t")) == {"value": value}


def through_jsonb(db: psycopg.Connection[Any], text: str) -> Any:
    row = db.execute("select %s::jsonb::text", (text,)).fetchone()
    assert row is not None
    return decode(row[0])


def shape(value: Any) -> Any:
    """The types inside: 1 and 1.0 are equal, and a handler can tell them apart."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value)


def test_storable_keeps_what_postgresql_can_keep() -> None:
    assert storable("a\0b \ud800 é") == "a\\x00b \\ud800 é"
    assert storable("short", 5) == "short"


def test_storable_cuts_the_middle_out_of_an_endless_text() -> None:
    text = "begin" + "x" * 1_000_000 + "end"
    cut = storable(text, 100)
    assert cut.startswith("beginxxx")
    assert cut.endswith("xxxend")
    assert "... (999908 characters left out) ..." in cut
    assert len(cut) < 200


def test_what_is_too_large_for_a_job_is_refused_with_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgjobs.payload.MAX_LENGTH", 2**20)
    with pytest.raises(InvalidResult, match="The result of t cannot be kept: it is 2 MiB of JSON, and a job carries 1"):
        encode_result("x" * 2**21, task="t")


def test_the_limit_is_one_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgjobs.payload.MAX_LENGTH", 2**20)
    fits = "é" * (2**19 - 1)
    assert len(encode_result(fits, task="t").encode()) == 2**20
    for large in (fits + "x", "\U0001f600" * 2**18, [1e300] * 5_000):
        with pytest.raises(InvalidResult, match="it is 1 MiB of JSON, and a job carries 1 at most"):
            encode_result(large, task="t")


@given(
    st.dictionaries(st.text(max_size=9), st.none() | st.booleans() | st.integers() | st.text() | st.floats(-1e9, 1e9))
)
def test_what_is_flat_is_encoded_as_everything_else_is(values: dict[str, Any]) -> None:
    def text(of: dict[str, Any]) -> str:
        try:
            return encode_payload(of, task="t")
        except InvalidPayload as error:
            return str(error)

    class Mine(dict[str, Any]):  # which takes the other way
        pass

    assert text(values) == text(Mine(values))
