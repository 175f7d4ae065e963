"""The project in which a command is called: where it begins, and its Python packages."""

from __future__ import annotations

from pathlib import Path


def root(start: Path | None = None) -> Path:
    """Return the folder of the nearest pyproject.toml, from this folder upwards; without one, this folder."""
    start = (start or Path.cwd()).resolve()
    return next((place for place in (start, *start.parents) if (place / "pyproject.toml").is_file()), start)


def packages(root: Path) -> list[Path]:
    """Return the folders of the project's packages, those under src/ too; tests are none of them."""
    places = [root / "src"] if (root / "src").is_dir() else [root]
    found = [init.parent for place in places for init in place.rglob("__init__.py")]
    skipped = {"tests", "test", "docs", "node_modules", "site-packages", "build", "dist"}
    return sorted(
        folder
        for folder in found
        if not any(part in skipped or part.startswith(".") for part in folder.relative_to(root).parts)
        and all((parent / "__init__.py").exists() for parent in _between(folder, root))
    )


def dotted(root: Path, folder: Path) -> tuple[str, ...]:
    """Return the parts of the name by which a folder of the project is imported."""
    parts = folder.relative_to(root).parts
    return parts[1:] if parts[:1] == ("src",) else parts


def _between(folder: Path, root: Path) -> list[Path]:
    return [parent for parent in folder.parents if parent.is_relative_to(root) and parent not in (root, root / "src")]
