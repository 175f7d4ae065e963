"""The forms of single values: numbers, texts, times."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePath
from types import NoneType
from typing import Any
from uuid import UUID

from pgjobs.forms.form import NONE, Convert, Form, Mismatch, must_be, same, shown


def _leaf(
    kind: type | tuple[type, ...], noun: str, *, but: type | None = None, dump: Convert = same, load: Convert = same,
    reads: tuple[type, ...] = (str,), written: str | None = None,
) -> Form:  # fmt: skip
    """A form for instances of `kind`, those of its subclass `but` excepted, which JSON has as one of `reads`."""
    written = written or noun

    def checked_dump(value: Any) -> Any:
        if not isinstance(value, kind) or (but is not None and isinstance(value, but)):
            raise must_be(noun, value)
        return dump(value)

    def checked_load(value: Any) -> Any:
        if type(value) not in reads:
            raise must_be(written, value)
        try:
            return load(value)
        except Mismatch:
            raise
        except (ValueError, ArithmeticError):
            raise must_be(written, value) from None

    dumps_as_is = frozenset(reads) if dump is same else NONE
    return Form(noun, reads, checked_dump, checked_load, dumps_as_is, frozenset(reads) if load is same else NONE)


def _moment(value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise Mismatch(
            f"must be a datetime with a time zone, not {shown(value.isoformat())}:"
            " a naive one means a different moment to every server"
        )
    return value


def _seconds(value: timedelta) -> float:
    seconds = value.total_seconds()
    # A number of 64 bits: at 285 years it no longer tells one microsecond from the next.
    if abs(value) > timedelta(days=104_000) or timedelta(seconds=seconds) != value:
        raise Mismatch(f"is too long to be kept to the microsecond: {value}")
    return int(seconds) if seconds.is_integer() else seconds


def _finite(value: float) -> float:
    number = float(value)
    if math.isinf(number):  # 1e999, which JSON can write
        raise OverflowError
    return number


def _amount(value: Decimal) -> Decimal:
    if not value.is_finite():
        raise Mismatch(f"must be a finite number, not {value}")
    return value


LEAVES: Mapping[Any, Form] = {
    NoneType: _leaf(NoneType, "None", reads=(NoneType,)),
    bool: _leaf(bool, "a bool", reads=(bool,)),
    int: _leaf(int, "an int", but=bool, reads=(int,)),
    # An int is a float to every type checker. It arrives as one.
    float: Form(
        "a float", {int, float},
        _leaf((int, float), "a float", but=bool, reads=(float,)).dump,
        _leaf(float, "a float", load=_finite, reads=(int, float)).load,
        frozenset({float}), frozenset({float}),
    ),
    str: _leaf(str, "a str"),
    bytes: _leaf(bytes, "bytes", dump=lambda value: base64.b64encode(value).decode(),
                 load=lambda text: base64.b64decode(text, validate=True), written="bytes as text in base64"),
    datetime: _leaf(datetime, "a datetime with a time zone", dump=lambda value: _moment(value).isoformat(),
                    load=lambda text: _moment(datetime.fromisoformat(text))),
    date: _leaf(date, "a date", but=datetime, dump=date.isoformat, load=date.fromisoformat),
    time: _leaf(time, "a time", dump=time.isoformat, load=time.fromisoformat),
    timedelta: _leaf(timedelta, "a timedelta", dump=_seconds, load=lambda seconds: timedelta(seconds=seconds),
                     reads=(int, float), written="a timedelta as a number of seconds"),
    Decimal: _leaf(Decimal, "a Decimal", dump=lambda value: str(_amount(value)),
                   load=lambda text: _amount(Decimal(text)), reads=(str, int), written="a Decimal as text"),
    UUID: _leaf(UUID, "a UUID", dump=str, load=UUID),
    Path: _leaf(Path, "a Path", dump=str, load=Path),
    PurePath: _leaf(PurePath, "a PurePath", dump=str, load=PurePath),
}  # fmt: skip
