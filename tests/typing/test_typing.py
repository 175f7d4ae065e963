"""What type checkers say of right and wrong calls: mypy and pyright, each run once over the same samples."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent / "samples"
ROOT = Path(__file__).parents[2]
MARK = re.compile(r"# E: (?P<mypy>\S+) (?P<pyright>\S+)$")

Found = dict[str, set[str]]  # "file:line" -> codes


def expected(checker: str) -> dict[str, str]:
    """Where errors are expected, and which: codes with | between them."""
    return {
        f"{path.name}:{number}": mark[checker]
        for path in SAMPLES.glob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (mark := MARK.search(line))
    }


def mypy() -> Found:
    """What mypy finds, with the settings of this project."""
    done = run(
        "mypy", "--no-error-summary", "--no-pretty", "--show-error-codes", *map(str, sorted(SAMPLES.glob("*.py")))
    )
    found: Found = {}
    for line in done.stdout.splitlines():
        if error := re.match(r".*?([^/\\:]+\.py):(\d+): error: .*\[([\w-]+)\]$", line):
            found.setdefault(f"{error[1]}:{error[2]}", set()).add(error[3])
        else:
            assert ": note:" in line, done.stdout + done.stderr
    return found


def pyright() -> Found:
    """What pyright finds, by its standard settings. The wheel of basedpyright brings a node of its own."""
    done = run("basedpyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(SAMPLES))
    found: Found = {}
    for error in json.loads(done.stdout)["generalDiagnostics"]:
        if error["severity"] == "error":
            place = f"{Path(error['file']).name}:{error['range']['start']['line'] + 1}"
            found.setdefault(place, set()).add(error["rule"])
    return found


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300)


CHECKERS = {"mypy": mypy, "pyright": pyright}


@pytest.mark.parametrize("checker", CHECKERS)
def test_wrong_calls_are_found_where_they_stand_and_right_ones_are_fine(checker: str) -> None:
    found, marked = CHECKERS[checker](), expected(checker)
    assert len(marked) > 25
    assert {place: sorted(codes) for place, codes in found.items() if place not in marked} == {}
    missed = {place: codes for place, codes in marked.items() if not found.get(place, set()) & set(codes.split("|"))}
    assert missed == {}
