"""The forms of lists, tuples, sets and mappings."""

from __future__ import annotations

import re
from collections import abc
from collections.abc import Iterable
from typing import Any

from pgjobs.forms.form import ANY, NONE, Convert, Form, Mismatch, Types, must_be, same, shown

Kinds = Any  # a class or a tuple of classes, as isinstance takes them

# Annotation -> which values it takes, what is made of the JSON list, and how it is called.
LISTS: dict[Any, tuple[Kinds, Convert, str]] = {
    list: (list, same, "a list"),
    tuple: (tuple, tuple, "a tuple"),
    set: (set, set, "a set"),
    frozenset: (frozenset, frozenset, "a frozenset"),
    abc.Set: ((set, frozenset), set, "a set"),
    abc.MutableSet: (set, set, "a set"),
    abc.MutableSequence: (list, same, "a list"),
    abc.Sequence: ((list, tuple), same, "a list or a tuple"),  # and no str, though it is a sequence too
    abc.Collection: ((list, tuple, set, frozenset), same, "a list, a tuple or a set"),
    abc.Iterable: ((list, tuple, set, frozenset), same, "a list, a tuple or a set"),
}
MAPPINGS: dict[Any, Kinds] = {dict: dict, abc.Mapping: abc.Mapping, abc.MutableMapping: abc.MutableMapping}


def list_form(annotation: Any, item: Form) -> Form:
    """Return the form of any number of equal items."""
    kinds, make, noun = LISTS[annotation]

    def dump(value: Any) -> list[Any]:
        if not isinstance(value, kinds):
            raise must_be(noun, value)
        if item is ANY:
            return value if type(value) is list else list(value)
        return _each(item.dump, value)

    def load(value: Any) -> Any:
        if type(value) is not list:
            raise must_be(noun, value)
        return make(value if item is ANY else _each(item.load, value))

    as_is: Types = frozenset({list}) if item is ANY and annotation is list else NONE
    return Form(noun, {list}, dump, load, as_is, as_is)


def tuple_form(noun: str, kind: Any, make: Convert, items: list[Form], least: int) -> Form:
    """Return the form of a tuple with a form for each place, of which the last may be left out, down to `least`."""

    def check(value: Any, kind: Any) -> None:
        if not isinstance(value, kind) or not least <= len(value) <= len(items):
            raise must_be(noun, value)

    def dump(value: Any) -> list[Any]:
        check(value, kind)
        forms = iter(items)
        return _each(lambda item: next(forms).dump(item), value)

    def load(value: Any) -> Any:
        check(value, list)
        forms = iter(items)
        return make(_each(lambda item: next(forms).load(item), value))

    return Form(noun, {list}, dump, load)


def dict_form(annotation: Any, key: Form, item: Form) -> Form:
    """Return the form of a mapping. In JSON every key is a text: numbers are written as such, and read back."""
    kinds = MAPPINGS[annotation]
    text_keys = key is ANY or key.dumps_as_is == {str}

    def load_key(text: str) -> Any:
        if str not in key.reads and int in key.reads and re.fullmatch(r"-?\d{1,1000}", text):
            return key.load(int(text))
        return key.load(text)

    def dump_key(name: Any) -> Any:
        text = key.dump(name)
        text = str(text) if type(text) is int else text
        if isinstance(text, str) and not isinstance(name, str) and load_key(text) != name:
            raise Mismatch("is a key that would not be read back as what it is")
        return text

    def dump(value: Any) -> dict[Any, Any]:
        if not isinstance(value, kinds):
            raise must_be("a dict", value)
        if key is ANY and item is ANY:
            return value if type(value) is dict else dict(value)
        return _items(key.dump if text_keys else dump_key, item.dump, value)

    def load(value: Any) -> dict[Any, Any]:
        if type(value) is not dict:
            raise must_be("a dict", value)
        return value if text_keys and item is ANY else _items(same if text_keys else load_key, item.load, value)

    as_is: Types = frozenset({dict}) if key is ANY and item is ANY and annotation is dict else NONE
    return Form("a dict", {dict}, dump, load, as_is, as_is)


def _each(convert: Convert, values: Iterable[Any]) -> list[Any]:
    done: list[Any] = []
    try:
        for value in values:
            done.append(convert(value))  # noqa: PERF401 - its length says which one did not fit
    except Mismatch as error:
        error.path = f"[{len(done)}]{error.path}"
        raise
    return done


def _items(convert_key: Convert, convert: Convert, values: abc.Mapping[Any, Any]) -> dict[Any, Any]:
    done: dict[Any, Any] = {}
    for key, value in values.items():
        try:
            done[convert_key(key)] = convert(value)
        except Mismatch as error:
            error.path = f"[{shown(key)}]{error.path}"
            raise
    return done
