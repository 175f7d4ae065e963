"""The main job of the project, as a user starts it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def test_the_demo_reads_its_letters_and_saves_the_corrupt_one(tmp_path: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PGJOBS_", "DATABASE_URL"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "pgjobs", "demo", "--pages", "7", "--workers", "1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "a private PostgreSQL is started" in said
    assert "UnreadableImage" in said
    assert "$ pgjobs retry-failed --queue ocr" in said
    assert re.search(r"06-nl-letter-cut-off +completed +4 ", said)
    assert "7 of 7 letters read" in said
    [share] = re.findall(r"([0-9.]+)% of the characters on clean pages are right", said)
    assert float(share) >= 95
