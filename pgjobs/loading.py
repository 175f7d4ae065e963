"""An app by its name, `package.module:app`: imported, or in one sentence why not."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType

from pgjobs.app import App
from pgjobs.errors import ConfigurationError


def load(path: str, named_by: str) -> App:
    """Return the app at `package.module:name`, the current folder first on the path. Raises ConfigurationError.

    Arguments: the path; named_by, who named it, for the error.
    """
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or not name or "/" in path or module_name.endswith(".py"):
        raise ConfigurationError(
            f"The app {path!r} ({named_by}) is not written as package.module:name; try {_spelt(path)}."
        )
    module = _import(module_name, path, named_by)
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"The module {module_name} has no {name!r} ({named_by} {path}){_others(module)}.")
        found = getattr(found, part)
    if found is App:
        raise ConfigurationError(f"{path} ({named_by}) is the class App itself: write {name} = pgjobs.App().")
    if not isinstance(found, App):
        raise ConfigurationError(
            f"{path} ({named_by}) is of type {type(found).__name__} and not a pgjobs.App{_others(module)}."
        )
    return found


def _import(name: str, path: str, named_by: str) -> ModuleType:
    folder = os.getcwd()
    if folder not in sys.path and "" not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        # A module that is missing inside the app is an error of the app, and not of the name that was given.
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"There is no module {error.name} for the app {path} ({named_by}): neither installed nor in {folder}{_similar(name, path)}."
                " Call pgjobs where the module can be imported, or give another --app."
            ) from error
        text = error.msg if isinstance(error, SyntaxError) else " ".join(str(error).split())
        raise ConfigurationError(
            f"Importing {name} for the app {path} ({named_by}) failed: {type(error).__qualname__}: {text}{_place(error)}."
            " Run again with --debug for the traceback."
        ) from error


def _place(error: BaseException) -> str:
    """Where in the code it was raised."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    # Where people's own code was: that a library raised it, or Python itself, helps nobody.
    theirs = [frame for frame in frames if frame.filename.startswith(os.getcwd())] or frames[1:]
    return f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""


def _spelt(path: str) -> str:
    """The path as it was probably meant."""
    module, _, name = path.partition(":")
    return f"{module.removesuffix('.py').strip('./').replace('/', '.') or 'package.module'}:{name or 'app'}"


def _similar(name: str, path: str) -> str:
    """A part of a sentence that names the module in this folder which was probably meant."""
    first, dot, rest = name.partition(".")
    there = {entry.stem for entry in Path().iterdir() if entry.suffix == ".py" or (entry / "__init__.py").exists()}
    close = difflib.get_close_matches(first, there, 1)
    return f"; did you mean {close[0]}{dot}{rest}:{path.partition(':')[2]}?" if close else ""


def _others(module: ModuleType) -> str:
    """The end of a sentence that names the apps which are there."""
    apps = [f"{module.__name__}:{name}" for name, value in vars(module).items() if isinstance(value, App)]
    return f"; try {' or '.join(apps)}" if apps else ""
