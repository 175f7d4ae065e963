"""`pgjobs make task`: a task in the app's module, or in a new one beside it, with a test."""

from __future__ import annotations

import ast
import keyword
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from pgjobs import settings
from pgjobs.cli import project
from pgjobs.cli.target import Command, Target, pass_target, target_options
from pgjobs.errors import ConfigurationError

Kind = Literal["thread", "async", "process"]


@click.group(params=target_options())
def make() -> None:
    """Write code to begin with.

    \b
    Example:
      pgjobs make task send_letter
    """


@make.command(cls=Command)
@click.argument("name")
@click.option("--async", "kind", flag_value="async", help="A coroutine, for what mostly waits.")
@click.option("--process", "kind", flag_value="process", help="In a process of its own, for what computes or crashes.")
@click.option("--queue", metavar="QUEUE", default="default", show_default=True, help="Where its jobs wait.")
@click.option("--module", metavar="MODULE", help="Where it goes, for example shop.letters. Default: where the app is.")
@pass_target
def task(target: Target, name: str, kind: Kind | None, queue: str, module: str | None) -> None:
    """Write a task NAME, and a test for it where the project has a folder tests.

    Nothing that is there is changed: the task is put at the end of the module.

    \b
    Examples:
      pgjobs make task send_letter
      pgjobs make task read_page --process --queue ocr --module shop.reading
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ConfigurationError(
            f"{name!r} cannot be the name of a function: take letters, digits and _, like send_letter."
        )
    if name.startswith(("__", "test_")):
        whose = "pytest would take it for a test" if name.startswith("test_") else "it has a meaning in Python"
        raise ConfigurationError(f"{name!r} is no good name of a task: {whose}. Take another, like send_letter.")
    if not 1 <= len(queue) <= 200:
        raise ConfigurationError("The name of a queue must have 1 to 200 characters.")
    app = _app(target)
    where = app if module is None or module == app.module else _beside(app, module)
    _refuse_if_taken(where, name)
    code = _code(name, kind or "thread", queue, app.name)
    if where.path.exists():
        text = where.path.read_text(encoding="utf-8").rstrip("\n")
        where.path.write_text(f"{text}\n\n\n{code}", encoding="utf-8")
        click.echo(f"Added {name} to {_shown(where.path)}.")
    else:
        where.path.write_text(f"from {app.module} import {app.name}\n\n\n{code}", encoding="utf-8")
        click.echo(f"Wrote {_shown(where.path)} with {name}.")
        click.echo(f"Import it where a worker finds it: `import {where.module}` at the end of {_shown(app.path)}.")
    _write_test(where.module, name, kind == "async")
    click.echo(f"Enqueue it: pgjobs enqueue {name}, or in Python {name}.enqueue().")


@dataclass(frozen=True)
class _Place:
    """A module, its file, and the name of the app in it, or that it imports."""

    module: str
    path: Path
    name: str


def _app(target: Target) -> _Place:
    """Return where the app is; it is looked for and not imported, since it may be broken just now."""
    path = settings.app_path(target.app)
    if path is None:
        raise ConfigurationError(
            "No app is named that the task could belong to: `pgjobs init` makes one, or give --app package.module:app."
        )
    module, colon, name = path.partition(":")
    if not colon or not name.isidentifier():
        raise ConfigurationError(f"The app {path!r} is not written as package.module:name, for example shop.jobs:app.")
    file = _file(module)
    if file is None:
        raise ConfigurationError(f"There is no module {module} for the app {path}: call this in your project's folder.")
    return _Place(module, file, name)


def _file(module: str) -> Path | None:
    parts = module.split(".")
    for folder in (Path.cwd(), project.root(), project.root() / "src"):
        for path in (folder.joinpath(*parts).with_suffix(".py"), folder.joinpath(*parts, "__init__.py")):
            if path.is_file():
                return path
    return None


def _beside(app: _Place, module: str) -> _Place:
    """Return the place of a module that is there, or may be made where the app is imported from."""
    parts = module.split(".")
    if not all(part.isidentifier() and not keyword.iskeyword(part) for part in parts):
        raise ConfigurationError(f"{module!r} is not the name of a module, for example shop.letters.")
    if any(part.startswith("__") for part in parts):
        raise ConfigurationError(
            f"{module!r} has a meaning in Python: take another --module, for example shop.letters."
        )
    path = _file(module)
    if path is None:
        if parts[0] in sys.stdlib_module_names:
            raise ConfigurationError(
                f"{parts[0]!r} is a module of Python's own, which this one would hide: take another --module."
            )
        outermost = app.path.parents[app.module.count(".") + (app.path.name == "__init__.py")]
        path = outermost.joinpath(*parts).with_suffix(".py")
        if not path.parent.is_dir():
            raise ConfigurationError(
                f"There is no folder {_shown(path.parent)} for the module {module}: make it, or take another --module."
            )
    return _Place(module, path, app.name)


def _refuse_if_taken(place: _Place, name: str) -> None:
    if not place.path.exists():
        return
    try:
        body = ast.parse(place.path.read_text(encoding="utf-8")).body
    except SyntaxError as error:
        raise ConfigurationError(
            f"{_shown(place.path)} has a syntax error in line {error.lineno}: repair it first."
        ) from None
    if name in (names := {name for statement in body for name in _names(statement)}):
        raise ConfigurationError(f"{_shown(place.path)} has {name} already and stays as it is: choose another name.")
    if place.name not in names:
        raise ConfigurationError(f"{_shown(place.path)} does not know the app {place.name}: import it there first.")


def _names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement gives a meaning to."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            yield from (alias.asname or alias.name for alias in aliases)
        case _:
            nodes = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
            yield from (node.id for node in nodes if isinstance(node.ctx, ast.Store))


def _code(name: str, kind: Kind, queue: str, app: str) -> str:
    options = [] if queue == "default" else [f'queue="{_quoted(queue)}"']
    options += ['executor="process"'] if kind == "process" else []
    options += ["max_attempts=3", "timeout=60"]
    return (
        f"@{app}.task({', '.join(options)})\n{'async ' if kind == 'async' else ''}def {name}() -> None:\n"
        f'    """Say here what it does. It may run twice: when a worker dies in the middle, another begins anew."""\n'
    )


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _write_test(module: str, name: str, is_coroutine: bool) -> None:
    tests = project.root() / "tests"
    path = tests / f"test_{name}.py"
    if not tests.is_dir():
        return
    if path.exists():
        click.echo(f"{_shown(path)} is there already and stays as it is.")
        return
    call = f"asyncio.run({name}())" if is_coroutine else f"{name}()"
    path.write_text(
        ("import asyncio\n\n" if is_coroutine else "")
        + f"from {module} import {name}\n\n\ndef test_{name}_runs_twice_as_well_as_once() -> None:\n    {call}\n    {call}\n",
        encoding="utf-8",
    )
    click.echo(f"Wrote {_shown(path)}.")


def _shown(path: Path) -> str:
    root = project.root()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
