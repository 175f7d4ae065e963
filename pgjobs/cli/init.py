"""`pgjobs init`: an app and a first task in a project that has none yet."""

from __future__ import annotations

import tomllib
from pathlib import Path

import click

from pgjobs.cli import project
from pgjobs.cli.target import Command
from pgjobs.errors import ConfigurationError

MODULE = '''"""The jobs of {name}."""

import pgjobs

app = pgjobs.App()


@app.task(queue="default", max_attempts=3, timeout=60)
def say_hello(name: str) -> str:
    return f"Hello {{name}}"
'''


@click.command(cls=Command)
@click.option("--package", metavar="NAME", help="Where the app goes. Default: the project's only package.")
def init(package: str | None) -> None:
    """Make an app with one task in the project around this folder, and name it in pyproject.toml.

    Nothing that is there is changed: the table [tool.pgjobs] is put at the end of pyproject.toml, the app into a new
    module jobs.py of your package.

    \b
    Examples:
      pgjobs init
      pgjobs init --package shop
    """
    root = project.root()
    pyproject = root / "pyproject.toml"
    text = _without_table(pyproject)
    folder = _package(root, package)
    module = folder / "jobs.py"
    name = ".".join((*project.dotted(root, folder), "jobs"))
    if module.exists():
        raise ConfigurationError(
            f"{module} is there already and stays as it is: if your app is in it, put [tool.pgjobs] with"
            f' app = "{name}:app" into pyproject.toml.'
        )
    module.write_text(MODULE.format(name=folder.name if folder != root else "this project"), encoding="utf-8")
    click.echo(f"Wrote {module.relative_to(root)}, with an app and its first task, say_hello.")
    pyproject.write_text(f'{text}[tool.pgjobs]\napp = "{name}:app"\n', encoding="utf-8")
    click.echo(f"Named the app in {pyproject.name}: {name}:app.")
    click.echo(
        "\nNext, in one terminal:\n"
        "  pgjobs dev                                             a database and a worker; it says the DSN\n"
        "and in another, with PGJOBS_DSN as it said:\n"
        '  pgjobs enqueue say_hello --payload \'{"name": "Ann"}\'\n'
        "  pgjobs list\n"
        "  pgjobs make task NAME                                  a task of your own"
    )


def _without_table(pyproject: Path) -> str:
    """Return the text of pyproject.toml, ready for a table at its end. Raises ConfigurationError if it has ours."""
    if not pyproject.exists():
        raise ConfigurationError(
            f"There is no pyproject.toml in {pyproject.parent} or above: call this in your project, or make one first,"
            ' for example with the two lines [project] and name = "shop".'
        )
    text = pyproject.read_text(encoding="utf-8")
    try:
        tool = tomllib.loads(text).get("tool", {})
    except ValueError as error:
        raise ConfigurationError(f"{pyproject} cannot be read: {error}.") from None
    if "pgjobs" in tool:
        raise ConfigurationError(
            f"{pyproject} has a table [tool.pgjobs] already: this project is set up. `pgjobs make task NAME` makes tasks."
        )
    return text.rstrip("\n") + "\n\n" if text.strip() else ""


def _package(root: Path, given: str | None) -> Path:
    """Return the folder that the module goes to. Raises ConfigurationError when it is not clear which."""
    packages = project.packages(root)
    if given is not None:
        found = [folder for folder in packages if ".".join(project.dotted(root, folder)) == given]
        if not found:
            raise ConfigurationError(f"There is no package {given!r} in {root}{_names(root, packages)}.")
        return found[0]
    outermost = [folder for folder in packages if len(project.dotted(root, folder)) == 1]
    if len(outermost) > 1:
        raise ConfigurationError(
            f"There is more than one package in {root}: say which by --package{_names(root, outermost)}."
        )
    return outermost[0] if outermost else root  # a project of single modules: one more of them


def _names(root: Path, packages: list[Path]) -> str:
    names = ", ".join(".".join(project.dotted(root, folder)) for folder in packages)
    return f"; there is {names}" if names else "; there is none"
