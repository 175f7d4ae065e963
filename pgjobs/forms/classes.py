"""The forms of classes with fields: dataclasses, NamedTuples, TypedDicts, pydantic models."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any, NotRequired, Required, get_origin

from pgjobs.forms.containers import tuple_form
from pgjobs.forms.form import ANY, Convert, Form, Mismatch, made, must_be, same, with_article


def is_model(kind: type) -> bool:
    """Whether this is a pydantic model, as can be told without importing pydantic."""
    return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_validate_json")


def class_form(kind: type, form_of: Callable[[Any], Form], begun: dict[Any, Form]) -> Form:
    """Return the form of a class, or ANY. It stands in `begun` before its fields are looked at, which may mention it."""
    if is_model(kind):
        return _model_form(kind)
    is_tuple = issubclass(kind, tuple) and hasattr(kind, "_field_defaults")
    if not (is_tuple or typing.is_typeddict(kind) or dataclasses.is_dataclass(kind)):
        return ANY
    form = begun[kind] = Form(with_article(kind.__name__), {list if is_tuple else dict}, same, same)
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        module = sys.modules.get(base.__module__)
        found |= read_annotations(inspect.get_annotations(base), vars(module) if module else {}, {kind.__name__: kind})
    make = _tuple_form if is_tuple else _dict_form if typing.is_typeddict(kind) else _dataclass_form
    finished = make(kind, form.noun, {name: form_of(annotation) for name, annotation in found.items()}, found)
    form.dump, form.load = finished.dump, finished.load
    return form


def read_annotations(
    annotations: Mapping[str, Any], module: Mapping[str, Any], around: Mapping[str, Any]
) -> dict[str, Any]:
    """Return annotations with their texts read in these two scopes.

    Each by itself: one that only a type checker can read stays a text, and spoils no other.
    """

    def probe() -> None: ...

    found = {}
    for name, annotation in annotations.items():
        probe.__annotations__ = {name: annotation}
        try:
            found[name] = typing.get_type_hints(probe, dict(module), dict(around), include_extras=True)[name]
        except Exception:
            found[name] = annotation
    return found


def _dataclass_form(kind: Any, noun: str, forms: dict[str, Form], annotations: dict[str, Any]) -> Form:
    fields = [field for field in dataclasses.fields(kind) if field.init]
    required = {field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING}

    def taken(value: Any) -> dict[str, Any]:
        # A subclass would come back without what it adds.
        if type(value) is not kind:
            raise must_be(noun, value)
        return {field.name: getattr(value, field.name) for field in fields}

    forms = {field.name: forms.get(field.name, ANY) for field in fields}
    return _record_form(noun, forms, required, taken, lambda given: made(kind, **given))


def _dict_form(kind: Any, noun: str, forms: dict[str, Form], annotations: dict[str, Any]) -> Form:
    # Python itself does not see NotRequired in an annotation that is a text.
    said = {name: get_origin(annotation) for name, annotation in annotations.items()}
    required = {n for n in said if said[n] is Required or (n in kind.__required_keys__ and said[n] is not NotRequired)}

    def taken(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise must_be(noun, value)
        return value

    # Open, as it is to type checkers: who writes it may be newer than who reads it.
    return _record_form(noun, forms, required, taken, dict, is_open=True)


def _record_form(
    noun: str, forms: dict[str, Form], required: set[str], take: Callable[[Any], dict[str, Any]], make: Convert,
    is_open: bool = False,
) -> Form:  # fmt: skip
    """`is_open`: a field that is not known may be read, and stays as it is."""

    def each(value: dict[str, Any], convert: Callable[[Form], Convert], may_have_more: bool) -> dict[str, Any]:
        for name in value:
            if name not in forms and not may_have_more:
                raise Mismatch(f"has a field {name!r} that {noun} has not")
        for name in required:
            if name not in value:
                raise Mismatch(f"needs the field {name!r}")
        done = {}
        for name, content in value.items():
            try:
                done[name] = convert(forms.get(name, ANY))(content)
            except Mismatch as error:
                error.path = f".{name}{error.path}"
                raise
        return done

    def load(value: Any) -> Any:
        if type(value) is not dict:
            raise must_be(noun, value)
        return make(each(value, lambda form: form.load, is_open))

    return Form(noun, {dict}, lambda value: each(take(value), lambda form: form.dump, False), load)


def _tuple_form(kind: Any, noun: str, forms: dict[str, Form], annotations: dict[str, Any]) -> Form:
    items = [forms.get(name, ANY) for name in kind._fields]
    return tuple_form(noun, kind, lambda values: made(kind, *values), items, len(items) - len(kind._field_defaults))


def _model_form(kind: Any) -> Form:
    noun = with_article(kind.__name__)

    def refused(error: Exception) -> Mismatch:
        first = error.errors()[0] if hasattr(error, "errors") else {"loc": (), "msg": str(error)}
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        return Mismatch(f"does not fit {kind.__name__}: {first['msg']}", path)

    def dump(value: Any) -> Any:
        if type(value) is not kind:
            raise must_be(noun, value)
        try:
            return value.model_dump(mode="json", by_alias=True, round_trip=True)
        except ValueError as error:  # pydantic's own
            raise refused(error) from None

    def load(value: Any) -> Any:
        if type(value) is not dict and type(value) not in _ROOTS:
            raise must_be(noun, value)
        try:
            # From JSON, where it takes texts for what JSON has no type for, also in strict mode.
            return kind.model_validate_json(json.dumps(value))
        except ValueError as error:
            raise refused(error) from None

    return Form(noun, {dict, *_ROOTS}, dump, load)


_ROOTS = (list, str, int, float, bool)  # a RootModel is any of these in JSON
