"""Letters as text: one way or another of filling each part of a letter, in one of several languages."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any


@dataclass(frozen=True)
class Letter:
    """One letter, its parts in the order in which they stand on the page."""

    language: str
    sender: tuple[str, ...]
    date: str
    salutation: str
    body: str
    closing: str
    signature: str


UNSPACED = frozenset({"zh", "ja"})
"""Languages written without spaces between words, which may therefore break a line after any character."""


def languages() -> tuple[str, ...]:
    """The ISO 639-1 codes of the languages that letters are written in, always in the same order."""
    return tuple(_phrases())


def compose(language: str, choice: Random) -> Letter:
    """A letter in this language; the same state of ``choice`` gives the same letter."""
    phrases = _phrases()[language]
    sender = choice.choice(phrases["senders"])
    return Letter(
        language=language,
        sender=tuple(sender),
        date=choice.choice(phrases["dates"]).format(day=choice.randint(2, 28), year=choice.randint(1952, 2024)),
        salutation=choice.choice(phrases["salutations"]),
        body=("" if language in UNSPACED else " ").join(
            (choice.choice(phrases["openings"]), choice.choice(phrases["news"] + phrases["wishes"]))
        ),
        closing=choice.choice(phrases["closings"]),
        signature=sender[0],
    )


@cache
def _phrases() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("phrases.toml").read_text(encoding="utf-8"))
