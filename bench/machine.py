"""On what, and of which commit, a bench was run."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.environments import ROOT


def describe() -> dict[str, Any]:
    """Commit, time, processor, memory, kernel, Python."""
    return {
        "commit": git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": from_proc("cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "memory MB": int((from_proc("meminfo", "MemTotal") or "0").split()[0]) // 1024,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "psycopg": version("psycopg"),
        "uvloop": version("uvloop") if find_spec("uvloop") else None,
    }


def git(*arguments: str) -> str:
    """Ask git; nothing where there is none."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def from_proc(file: str, name: str) -> str | None:
    """The first value of this name."""
    try:
        lines = (Path("/proc") / file).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
