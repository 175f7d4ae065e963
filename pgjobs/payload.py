"""JSON that PostgreSQL can keep: what may travel as a payload, a result or metadata, and a sentence for what may not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pgjobs.errors import InvalidPayload, InvalidResult
from pgjobs.forms import plain

MAX_DEPTH = (
    500  # levels of nesting; a fixed bound, so that what was enqueued is read wherever the reader's stack stands
)

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_encode = _encoder.encode
# What a JSONEncoder makes anew for every text, where Python has it in C: without a look for what contains itself.
_in_c: Callable[..., Any] | None = json.encoder.c_make_encoder  # type: ignore[attr-defined]
_encode_flat: Callable[[Any, int], tuple[str, ...]] | None = _in_c and _in_c(
    None, _encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, False
)  # fmt: skip
_TEXT: frozenset[type] = frozenset({str})
_PLAIN: frozenset[type] = frozenset({str, int, float, bool, type(None)})
# Without the regular expression for leading blanks that json.loads begins with: PostgreSQL writes none.
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
# A string, to be passed over, or a number with a positive exponent.
_LARGE = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(-?\d+(?:\.\d+)?e\+\d+)')


def encode_payload(arguments: Mapping[str, Any], *, task: str) -> str:
    """Return the arguments of a task as JSON text.

    Raises InvalidPayload, which names the argument, when one is not JSON: an object without a JSON form, NaN or
    infinity, a NUL character, half of a surrogate pair, a mapping whose keys are not strings.
    """
    try:
        return _checked(arguments)
    except ValueError as error:
        for name, value in arguments.items():
            try:
                _checked({name: value})
            except ValueError as its_error:
                raise InvalidPayload(f"The argument {name!r} of {task} cannot be enqueued: {its_error}.") from None
        raise InvalidPayload(f"The arguments of {task} cannot be enqueued: {error}.") from None


def encode_metadata(metadata: Mapping[str, Any], *, task: str) -> str:
    """Return what is said about a job as JSON text. Raises InvalidPayload when it is not a mapping that JSON can hold."""
    if not isinstance(metadata, Mapping):
        raise InvalidPayload(f"The metadata of a job is a mapping, not {type(metadata).__name__}.")
    try:
        return _checked(dict(metadata))
    except ValueError as error:
        raise InvalidPayload(f"The metadata for {task} cannot be enqueued: {error}.") from None


def encode_result(result: Any, *, task: str) -> str:
    """Return what a handler returned as JSON text; a dataclass, a datetime and others as they travel as arguments.

    Raises InvalidResult when it has no form in JSON.
    """
    if result is None:
        return "null"
    try:
        try:
            return _checked(result)
        except _HasNoJson:
            return _checked(plain(result))
    except RecursionError:
        raise InvalidResult(f"The result of {task} cannot be kept: it is nested too deeply.") from None
    except ValueError as error:
        raise InvalidResult(f"The result of {task} cannot be kept: {error}.") from None


def decode(text: str) -> Any:
    """Return the value of a JSON text that came from PostgreSQL. Raises ValueError for what Python cannot hold."""
    try:
        return _scan(text, 0)[0]
    except StopIteration:
        raise ValueError("it is no JSON") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def storable(text: str, limit: int = 10_000) -> str:
    """Return the text as PostgreSQL can keep it: without NUL and halves of surrogate pairs, and not endless."""
    if len(text) > limit:  # both ends say more than the middle: of a traceback, who called and what went wrong
        half = limit // 2
        text = f"{text[:half]}... ({len(text) - 2 * half} characters left out) ...{text[-half:]}"
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def length(text: str) -> int:
    """Return how many bytes a text is on its way to the database."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


# PostgreSQL holds no more than 256 MiB of jsonb, and a message of a gigabyte breaks the connection it is sent on. A job
# this large belongs into a table or a file store, with its key in the payload.
MAX_LENGTH = 32 * 1024 * 1024  # bytes of UTF-8


class _HasNoJson(ValueError):
    """It holds something that JSON has not."""


def _checked(value: Any) -> str:
    """Encode, or raise ValueError with the end of a sentence."""
    try:
        if _encode_flat is not None and _is_flat(value):
            text = "".join(_encode_flat(value, 0))
        else:
            text = _encode(value)  # before all else: it notices what contains itself
            _check_keys(value, 1)
    except TypeError as error:
        raise _HasNoJson(str(error).replace("Object", "an object", 1)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if "JSON compliant" in str(error):
            raise ValueError("NaN and infinity are not JSON") from None
        if "Circular" in str(error):
            raise ValueError("it contains itself") from None
        if "integer string conversion" in str(error):
            raise ValueError("it holds an integer of thousands of digits") from None
        raise
    _check_length(text)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("it contains half of a surrogate pair, which is not text") from None
    if "\\u0000" in text and _has_nul(value):
        raise ValueError("it contains a NUL character, which PostgreSQL cannot keep")
    if "e+" in text:
        # PostgreSQL would write 1e+23 as an integer, which is another number: 1e23 is 99999999999999991611392.0.
        text = _LARGE.sub(lambda found: f"{float(found[1]):.1f}" if found[1] else found[0], text)
        _check_length(text)
    return text


def _is_flat(value: Any) -> bool:
    """Whether it is what most payloads are: a dict of texts, numbers and the like, which can neither be deep nor contain itself."""
    return type(value) is dict and _PLAIN.issuperset(map(type, value.values())) and _TEXT.issuperset(map(type, value))


def _check_length(text: str) -> None:
    # No character is longer than four bytes: what is short enough by that needs no count.
    if len(text) * 4 > MAX_LENGTH and (bytes := length(text)) > MAX_LENGTH:
        raise ValueError(f"it is {bytes / 2**20:.0f} MiB of JSON, and a job carries {MAX_LENGTH // 2**20} at most")


def _check_keys(value: Any, depth: int) -> None:
    # The encoder would turn a key like 1 into "1", and the handler would get something else than was enqueued.
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            if type(key) is not str and not isinstance(key, str):
                raise ValueError(f"the key {key!r} of a mapping is not a string")
            if isinstance(item, (dict, list, tuple)):
                _check_keys(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, (dict, list, tuple)):
                _check_keys(item, depth + 1)


def _has_nul(value: Any) -> bool:
    # Only asked when the text contains \u0000, which a backslash before u0000 also makes.
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return any(_has_nul(item) for item in value)
    return False
