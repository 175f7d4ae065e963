"""The wheel: what it carries, and that it makes the schema without the repository beside it."""

from __future__ import annotations

import importlib.metadata
import os
import stat
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import psycopg
import pytest
from packaging.requirements import Requirement

from pgjobs import schema

ROOT = Path(__file__).resolve().parents[2]
CARRIED = {"sql": "_sql", "migrations": "_migrations", "examples": "_examples"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check",
        "--no-cache-dir", f"--wheel-dir={folder}", str(ROOT))  # fmt: skip
    (wheel,) = folder.glob("pgjobs-*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel was unpacked, with a name that is not harmless."""
    folder = tmp_path_factory.mktemp("unpacked") / "50% off"
    with ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(*command: str, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_carries_every_file_of_the_schema_and_the_examples(installed: Path) -> None:
    for source, inside in CARRIED.items():
        ours, theirs = files(ROOT / source), files(installed / "pgjobs" / inside)
        assert ours
        assert theirs == ours
    assert (installed / "pgjobs" / "py.typed").exists()
    assert (installed / "_pgjobs_pytest.py").exists()


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)
    }


def test_nothing_in_the_wheel_is_a_link_or_stands_outside_the_package(wheel: Path) -> None:
    # A link to a folder would vanish from the wheel silently.
    for source in ("pgjobs", *CARRIED):
        assert [path for path in (ROOT / source).rglob("*") if path.is_symlink()] == []
    with ZipFile(wheel) as archive:
        for member in archive.infolist():
            assert not stat.S_ISLNK(member.external_attr >> 16)
            place = member.filename.partition("/")[0]
            # The pytest plugin stands beside the package, so that pytest can load it without the package.
            assert place in ("pgjobs", "_pgjobs_pytest.py", f"pgjobs-{wheel.name.split('-')[1]}.dist-info")
            assert not member.filename.endswith((".pyc", "~"))


def test_the_wheel_renders_and_migrates_without_the_repository(installed: Path, empty: str) -> None:
    program = (
        "import sys, pgjobs; from pgjobs import schema; assert pgjobs.__file__.startswith(sys.argv[1]), pgjobs.__file__;"
        " print(schema.migrate(sys.argv[2]).after); print(schema.render(), end='')"
    )
    told = run(
        sys.executable, "-c", program, str(installed), empty,
        cwd=installed.parent, PYTHONPATH=str(installed), PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    revision, _, script = told.partition("\n")
    assert revision == schema.head()
    assert script == schema.render()


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel and what it says it needs, and nothing else."""
    folder = tmp_path_factory.mktemp("alone") / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = folder / "bin" / "python"
    packages = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    with ZipFile(wheel) as archive:
        archive.extractall(packages)
    for distribution in needed("pgjobs"):
        # Linked and not downloaded: tests need no network.
        for name in {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}:
            if not (packages / name).exists():
                (packages / name).symlink_to(distribution.locate_file(name))  # type: ignore[arg-type]
    return python


def needed(name: str) -> list[importlib.metadata.Distribution]:
    """Return what this distribution requires, and what that requires, without any extra but those that are asked for."""
    found: dict[str, importlib.metadata.Distribution] = {}
    asked = [(name, "")]
    while asked:
        name, extra = asked.pop()
        distribution = importlib.metadata.distribution(name)
        for requirement in map(Requirement, distribution.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                if requirement.name not in found:
                    asked += [(requirement.name, extra) for extra in ("", *requirement.extras)]
                found[requirement.name] = importlib.metadata.distribution(requirement.name)
    return list(found.values())


def test_the_wheel_alone_migrates_enqueues_and_works(
    alone: Path, empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPATH", "PGJOBS_APP", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "jobs.py").write_text(
        "import pgjobs\napp = pgjobs.App()\n@app.task\ndef add(a: int, b: int) -> int: return a + b\n"
    )

    def pgjobs(*command: str) -> str:
        return run(str(alone), "-W", "error", "-m", "pgjobs", *command, cwd=tmp_path, PGJOBS_DSN=empty)

    assert "Made the schema pgjobs" in pgjobs("migrate")
    id = pgjobs("enqueue", "add", "--payload", '{"a": 1, "b": 2}', "--app", "jobs:app").strip()
    assert "1 done" in pgjobs("worker", "--drain", "--app", "jobs:app")
    with psycopg.connect(empty) as connection:
        assert connection.execute("select id::text, result from pgjobs.job_history").fetchall() == [(id, 3)]
    where = run(str(alone), "-c", "import pgjobs; print(pgjobs.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(alone.parents[1])
