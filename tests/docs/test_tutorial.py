"""The tutorial, followed word by word: what it promises happens, and it changes as little as it says."""

from __future__ import annotations

import difflib
from collections import defaultdict
from pathlib import Path

from tests.docs.blocks import ROOT, blocks, commands
from tests.docs.running import Page

TUTORIAL = ROOT / "docs" / "tutorial.md"
PROMISED = 25  # "fewer than 25 lines change"


def test_the_tutorial_changes_fewer_lines_than_it_promises() -> None:
    assert f"fewer than {PROMISED} lines change" in TUTORIAL.read_text()
    versions: dict[str, list[list[str]]] = defaultdict(list)
    for block in blocks(TUTORIAL):
        if block.file is not None:
            # Neither the comment that names the file nor an empty line is a change that somebody makes.
            versions[block.file].append([line for line in block.text.splitlines()[1:] if line.strip()])
    changed = 0
    for file, texts in versions.items():
        before = texts[0] if file in ("models.py", "shop.py") else []
        diff = difflib.unified_diff(before, texts[-1], n=0)
        # Added and removed alike: a line that became another counts twice.
        changed += sum(line[0] in "+-" and not line.startswith(("+++", "---")) for line in diff)
    assert set(versions) == {"models.py", "shop.py", "jobs.py"}
    assert 0 < changed < PROMISED, changed


def test_whoever_follows_the_tutorial_sees_what_it_shows(tmp_path: Path, dsn: str) -> None:
    shown = 0
    with Page(tmp_path, dsn) as reader:
        for block in blocks(TUTORIAL):
            printed = reader.run(block)
            if block.language == "console":
                typed = commands(block.text).splitlines()
                answers = [line for line in block.text.splitlines() if line.removeprefix("$ ") not in typed]
                assert printed == "".join(answers)  # an answer of the shop does not end with a new line
                shown += len(answers)
            elif "--status dead" in block.text:
                assert "NoResultFound: No row was found" in printed
            elif "retry-failed" in block.text:
                assert printed.startswith("Retried 1 dead letter")
    assert shown == 3
