"""The project in which a command is called: where it begins, and its Python packages."""

from __future__ import annotations

from pathlib import Path


def root(start: Path | None = None) -> Path:
    """Return the folder of the nearest pyproject.toml, from this folder upwards; without one, this folder."""
    start = (start or Path.cwd()).resolve()
    return next((place for place in (start, *start.parents) if (place / "pyproject.toml").is_file()), start)
