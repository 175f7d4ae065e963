"""The app a command is about: found, imported, or in one sentence why not."""

from __future__ import annotations

from pgjobs import settings
from pgjobs.app import App
from pgjobs.cli.target import NO_APP, Target, named_by
from pgjobs.errors import ConfigurationError
from pgjobs.loading import load


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
    app = load(path, named_by(target))
    if target.dsn is not None:
        app.use_dsn(target.dsn)  # --dsn wins over what the code says
    return app
