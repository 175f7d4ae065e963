"""Environments for the peers: each is made once below build/bench/, of its requirements alone, and used again.

pgjobs does not depend on what is in them; a program finds its own libraries there, and what programs share beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.systems import System

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build" / "bench" / "environments"
SHARED = Path(__file__).parent / "programs"
LONGEST = 900.0  # seconds that making one may take


class EnvironmentFailed(Exception):
    """An environment cannot be made; the text says why."""


@dataclass(frozen=True)
class Environment:
    """How to start a system's program."""

    command: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str, url: str, stderr: int | None = None) -> subprocess.Popen[str]:
        """Start the program with these arguments, on the server at this URL, in a process group of its own."""
        return subprocess.Popen(
            [*self.command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if stderr is None else stderr,
            text=True,
            env=os.environ | self.variables | {"BENCH_URL": url},
            start_new_session=True,
        )


def is_ready(system: System) -> bool:
    """Whether its environment is there, so that nothing must be installed."""
    return not system.requirements or (place_of(system) / "complete").exists()


def prepare(system: System) -> Environment:
    """Make its environment unless it is there, and return how its program is started."""
    if not system.requirements:
        return Environment(
            (sys.executable, str(system.program)), {"PYTHONPATH": os.pathsep.join((str(ROOT), str(SHARED)))}
        )
    place = place_of(system)
    if not is_ready(system):
        shutil.rmtree(place, ignore_errors=True)  # one that was not finished
        place.mkdir(parents=True)
        if system.language == "python":
            make_python(system, place)
        else:
            make_node(system, place)
        (place / "complete").touch()
    if system.language == "python":
        return Environment((str(place / "bin" / "python"), str(system.program)), {"PYTHONPATH": str(SHARED)})
    # An ES module finds packages only above its own file: the program moves in, today's text of it.
    for file in (*system.folder.glob("*.mjs"), *SHARED.glob("*.mjs")):
        shutil.copyfile(file, place / file.name)
    own = place / "node_modules" / "node" / "bin" / "node"
    return Environment((str(own) if own.exists() else "node", str(place / system.program.name)))


def by_sql(system: System) -> Environment:
    """How the client is started that enqueues by the system's statement, the same program for all."""
    assert system.by_sql is not None
    variables = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(SHARED))), "BENCH_STATEMENT": system.by_sql}
    return Environment((sys.executable, str(SHARED / "by_sql.py")), variables)


def place_of(system: System) -> Path:
    """The folder of its environment: another one for other requirements."""
    asked = json.dumps([system.language, python_of(system), system.requirements])
    return FOLDER / f"{system.name}-{hashlib.sha256(asked.encode()).hexdigest()[:10]}"


def make_python(system: System, place: Path) -> None:
    """A venv with the requirements, which may be wheels of that Python only."""
    run([find_python(python_of(system)), "-m", "venv", str(place)])
    run([str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *system.requirements])


def make_node(system: System, place: Path) -> None:
    """A package of our own with the requirements among its dependencies; "node" brings the interpreter itself."""
    dependencies = dict(requirement.rsplit("==", 1) for requirement in system.requirements)
    package = {"name": "bench", "private": True, "type": "module", "dependencies": dependencies}
    (place / "package.json").write_text(json.dumps(package))
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(place)])


def python_of(system: System) -> str:
    """The version of Python that it wants, as in the names of interpreters."""
    return system.python or f"{sys.version_info.major}.{sys.version_info.minor}"


def find_python(version: str) -> str:
    """An interpreter of this version that can be run; what is on the path may be a shim without one behind it."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    installed = sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)
    for candidate in [shutil.which(f"python{version}"), *map(str, installed)]:
        if candidate and subprocess.run([candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    raise EnvironmentFailed(f"There is no Python {version} here: install it, so that `python{version}` can be run.")


def run(command: list[str]) -> None:
    """Run a command of an installation; what it said last is in the error."""
    try:
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=LONGEST)
    except FileNotFoundError as error:
        raise EnvironmentFailed(f"There is no {command[0]} here.") from error
    except subprocess.TimeoutExpired as error:
        raise EnvironmentFailed(f"{command[0]} did not end in {LONGEST:.0f} s.") from error
    except subprocess.CalledProcessError as error:
        said = "\n".join((error.stderr or error.stdout).strip().splitlines()[-8:])
        raise EnvironmentFailed(f"{' '.join(command[:3])} failed: {said}") from error
