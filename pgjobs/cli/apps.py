"""The app a command is about: found, imported, or in one sentence why not."""

from __future__ import annotations

import os

from pgjobs import settings
from pgjobs.app import App
from pgjobs.cli.target import Target
from pgjobs.errors import ConfigurationError
from pgjobs.loading import load

NO_APP = (
    "A worker needs to know the app whose tasks it is to run. Name it with --app package.module:app, in the environment"
    ' as PGJOBS_APP, or in pyproject.toml as app = "package.module:app" under [tool.pgjobs].'
)


def app_of(target: Target) -> App:
    """Return the app. Raises ConfigurationError when nobody named one, or it cannot be imported."""
    app = find_app(target)
    if app is None:
        raise ConfigurationError(NO_APP)
    return app


def find_app(target: Target) -> App | None:
    """Return the app, on the database that --dsn names; None if nobody named an app."""
    path = settings.app_path(target.app)
    if path is None:
        return None
    app = load(path, "--app" if target.app else "PGJOBS_APP" if os.environ.get("PGJOBS_APP") else "pyproject.toml")
    if target.dsn is not None:
        app.use_dsn(target.dsn)  # --dsn wins over what the code says
    return app
