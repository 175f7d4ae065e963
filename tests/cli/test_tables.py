"""Tables and times for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgjobs.cli.tables import Cell, cut, display_width, one_line, printable, relative, span, table


def test_columns_are_as_wide_as_their_content_and_numbers_stand_on_the_right() -> None:
    assert table(("NAME", "JOBS", "NOTE"), [("mail", 12_345, "a"), ("a-long-name", 7, "")]) == "\n".join(
        (
            "\x1b[1mNAME\x1b[0m           \x1b[1mJOBS\x1b[0m  \x1b[1mNOTE\x1b[0m",
            "mail         12,345  a",
            "a-long-name       7",
        )
    )


def test_wide_and_combining_characters_keep_the_columns_straight() -> None:
    lines = table(("A", "B"), [("日本", "x"), ("e\u0301e", "x"), ("abcd", "x")]).splitlines()[1:]
    assert [display_width(line) for line in lines] == [7, 7, 7]


def test_the_last_column_is_cut_to_the_width() -> None:
    lines = table(("ID", "NOTE"), [("1", "a long story of many words"), ("2", "short")], width=16).splitlines()
    assert lines[1] == "1   a long stor…"
    assert lines[2] == "2   short"


def test_colours_do_not_count_as_width() -> None:
    lines = table(("STATE", "X"), [(Cell("dead", "red"), "x"), ("ready", "x")]).splitlines()
    assert lines[1] == "\x1b[31mdead\x1b[0m   x"


def test_text_from_the_database_cannot_steer_the_terminal() -> None:
    assert one_line("a\n\tb\x1b[31m\x07\u202e") == "a b\\x1b[31m\\x07\\u202e"
    assert printable("a\n\tb\x1b") == "a\n\tb\\x1b"


def test_a_text_is_cut_by_the_columns_it_takes() -> None:
    assert cut("日本語", 5) == "日本…"
    assert cut("日本語", 4) == "日…"
    assert cut("abc", 3) == "abc"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"), (0.0214, "21ms"), (1, "1s"), (4.29, "4.2s"), (42.9, "42s"), (60, "1m"), (192, "3m 12s"),
        (3600, "1h"), (3900, "1h 5m"), (183_600, "2d 3h"), (8_640_000, "100d"), (-5, "-5s"),
    ],
)  # fmt: skip
def test_a_span_is_told_in_two_units_at_most(seconds: float, text: str) -> None:
    assert span(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"), (-0.9, "now"), (0.5, "now"), (-5, "5s ago"), (5, "in 5s"), (-200, "3m ago"), (298, "in 5m"),
        (-7200, "2h ago"), (86_400, "in 1d"), (-8_640_000, "100d ago"),
    ],
)  # fmt: skip
def test_a_moment_is_told_from_now(seconds: float, text: str) -> None:
    now = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert relative(now + timedelta(seconds=seconds), now) == text
