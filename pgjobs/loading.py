"""An app by its name, `package.module:app`: imported, or in one sentence why not."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
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
            f"The app {path!r} ({named_by}) is not written as package.module:name, for example shop.jobs:app."
        )
    module = _import(module_name, path, named_by)
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f"The module {module_name} has no {name!r} ({named_by} {path}){_others(module)}.")
        found = getattr(found, part)
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
                f"There is no module {error.name} for the app {path} ({named_by}): neither installed nor in {folder}."
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
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""


def _others(module: ModuleType) -> str:
    """The end of a sentence that names the apps which are there."""
    apps = [f"{module.__name__}:{name}" for name, value in vars(module).items() if isinstance(value, App)]
    return f"; try {' or '.join(apps)}" if apps else ""
