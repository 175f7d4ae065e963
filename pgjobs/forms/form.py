"""A Form, and what is said of a value that does not fit."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from typing import Any

Convert = Callable[[Any], Any]
Types = frozenset[type]

NONE: Types = frozenset()


class Mismatch(ValueError):
    """A value does not fit. `what` is the end of a sentence about the thing at `path`, which grows on the way out."""

    def __init__(self, what: str, path: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.path = path

    def __str__(self) -> str:
        return f"its {self.path} {self.what}" if self.path else f"it {self.what}"


class WrongKind(Mismatch):
    """A value is something else altogether; see `must_be`."""


class Form:
    """How the values of one annotation travel: `dump` makes JSON of one, `load` reads it back; both raise Mismatch.

    Values of the exact types in `dumps_as_is` and `loads_as_is` need neither. `reads`: types of JSON that it may load.
    """

    __slots__ = ("dump", "dumps_as_is", "load", "loads_as_is", "noun", "reads")

    def __init__(
        self, noun: str, reads: Iterable[type], dump: Convert, load: Convert,
        dumps_as_is: Types = NONE, loads_as_is: Types = NONE,
    ) -> None:  # fmt: skip
        self.noun = noun
        self.reads = frozenset(reads)
        self.dump = dump
        self.load = load
        self.dumps_as_is = dumps_as_is
        self.loads_as_is = loads_as_is


def same(value: Any) -> Any:
    """Return the value: a conversion that is none."""
    return value


# The form of an annotation that we know nothing of. Its values are JSON, or are refused when they are encoded.
ANY = Form("anything", (), same, same)


def must_be(noun: str, value: Any) -> WrongKind:
    """Return the Mismatch of a value that is not what it should be."""
    return WrongKind(f"must be {noun}, not {shown(value)}")


def made(make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a class of the application; what it raises becomes a Mismatch that says so."""
    try:
        return make(*args, **kwargs)
    except Exception as error:
        raise Mismatch(f"cannot be made: {type(error).__name__}: {error}") from error


def with_article(name: str) -> str:
    """Return a name with its article."""
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


def shown(value: Any) -> str:
    """Return a value as a sentence can show it: not endless, whatever it is."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 100
    try:
        return short.repr(value)
    except Exception:  # an integer of thousands of digits; a repr that raises
        return with_article(type(value).__name__)
