"""How values travel: the form of an annotation makes JSON of a value, and of that JSON a value like it.

An annotation is compiled once. What JSON has anyway (int, str, bool, None, a bare list or dict) is only looked at, by its
exact type. An annotation we know nothing of is not checked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

from pgjobs.forms.choices import enum_form, literal_form, union_form
from pgjobs.forms.classes import class_form, is_model, read_annotations
from pgjobs.forms.containers import LISTS, MAPPINGS, dict_form, list_form, tuple_form
from pgjobs.forms.form import ANY, Form, Mismatch
from pgjobs.forms.leaves import LEAVES

__all__ = ["ANY", "Form", "Mismatch", "form_of", "optional", "plain", "read_annotations"]


def form_of(annotation: Any, begun: dict[Any, Form] | None = None) -> Form:
    """Return the form of an annotation; ANY for one we know nothing of.

    Arguments: begun, the forms of classes whose fields are being looked at.
    """
    forms = {} if begun is None else begun
    origin, args = get_origin(annotation), get_args(annotation)
    kind: Any = NoneType if annotation is None else origin or annotation

    def inner(argument: Any) -> Form:
        return form_of(argument, forms)

    try:
        hash(kind)
    except TypeError:
        return ANY
    if kind in (Annotated, Required, NotRequired):
        return inner(args[0])
    if hasattr(kind, "__supertype__"):  # a NewType
        return inner(kind.__supertype__)
    if kind is Literal:
        return literal_form(args)
    if kind in (Union, UnionType):
        return union_form([inner(arg) for arg in args])
    if kind is tuple and args and args[-1] is not ...:
        return tuple_form(f"a tuple of {len(args)}", tuple, tuple, [inner(arg) for arg in args], len(args))
    if kind in LISTS:
        return list_form(kind, inner(args[0]) if args else ANY)
    if kind in MAPPINGS:
        return dict_form(kind, *(map(inner, args) if args else (ANY, ANY)))
    if kind in LEAVES:
        return LEAVES[kind]
    if type(kind).__name__ == "TypeAliasType" and kind not in forms:  # from Python 3.12 on
        forms[kind] = ANY  # where it mentions itself
        return inner(kind.__value__)
    if not isinstance(kind, type):
        return forms.get(kind, ANY)
    if kind not in forms:
        forms[kind] = enum_form(kind) if issubclass(kind, Enum) else class_form(kind, inner, forms)
    return forms[kind]


def optional(form: Form) -> Form:
    """Return a form that takes None as well."""
    return form if form is ANY or NoneType in form.reads else union_form([form, LEAVES[NoneType]])


def plain(value: Any) -> Any:
    """Return a value as JSON has it, by what it is and not by what an annotation says: for results.

    What has no form is returned as it is. Raises Mismatch for what has one and does not fit it.
    """
    kind = type(value)
    if isinstance(value, Mapping):
        return {_key(key): _at(f"[{key!r}]", item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_at(f"[{number}]", item) for number, item in enumerate(value)]
    if isinstance(value, Enum):
        return enum_form(kind).dump(value)
    if is_model(kind):
        return class_form(kind, form_of, {}).dump(value)
    if dataclasses.is_dataclass(kind):
        return {field.name: _at(f".{field.name}", getattr(value, field.name)) for field in dataclasses.fields(kind)}
    for base in kind.__mro__:
        if base in LEAVES:
            return LEAVES[base].dump(value)
    return value


def _key(key: Any) -> Any:
    text = key if isinstance(key, str) else plain(key)
    return text if isinstance(text, str) else key  # which the encoder refuses: in JSON a key is a text


def _at(path: str, value: Any) -> Any:
    try:
        return plain(value)
    except Mismatch as error:
        error.path = path + error.path
        raise
