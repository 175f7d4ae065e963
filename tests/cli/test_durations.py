"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgjobs.cli.durations import parse


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("1w", 604_800), ("500ms", 0.5), ("90", 90),
        ("0.25", 0.25), ("0", 0), ("1.5h", 5400), ("1h30m", 5400), ("1h 30m", 5400), (" 5M ", 300),
    ],
)  # fmt: skip
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "5x", "-5", "-5m", "m", "5 5", "1h5", "nan", "inf", "1e3", "5m!", "٣s", "9" * 30, "9" * 30 + "d"],
)
def test_what_is_no_duration_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration like 30s|is too long a time"):
        parse(text)
