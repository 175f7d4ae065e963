"""Where settings come from, read in one place: argument, then environment, then pyproject.toml, then default."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pgjobs.errors import ConfigurationError, ConnectionFailed

# For every connection of ours. A host that falls silent is noticed in seconds and not in hours; and JSON is UTF-8, whatever
# the environment says.
CONNECT: dict[str, Any] = {
    "client_encoding": "UTF8",
    "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000,
}  # fmt: skip

NO_DSN = (
    "No database was named. Give one as App(dsn) or --dsn, in the environment as PGJOBS_DSN or DATABASE_URL,"
    ' or in pyproject.toml as dsn = "postgresql://..." under [tool.pgjobs].'
)


def find_dsn(given: str | None = None) -> str | None:
    """Return the DSN to use, or None if there is none anywhere. Raises ConnectionFailed for another database's."""
    dsn = given or os.environ.get("PGJOBS_DSN") or os.environ.get("DATABASE_URL") or _text("dsn")
    if not dsn:
        return None
    scheme = re.match(r"(\w+)(\+\w+)?://", dsn)
    if scheme and scheme[1] not in ("postgresql", "postgres"):
        raise ConnectionFailed(
            f"The DSN cannot be read (it is for {scheme[1]}, and pgjobs needs PostgreSQL): it must look like"
            " postgresql://user:password@host:5432/database, with special characters percent-encoded."
        )
    # SQLAlchemy's spelling of a URL names a driver, which libpq does not know.
    return re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", dsn)


def dsn(given: str | None = None) -> str:
    """Return the DSN to use. Raises ConfigurationError, which names the ways to give one."""
    found = find_dsn(given)
    if found is None:
        raise ConfigurationError(NO_DSN)
    return found


def app_path(given: str | None = None) -> str | None:
    """Return where the app is, as `package.module:name`, or None if nobody says."""
    return given or os.environ.get("PGJOBS_APP") or _text("app")


def pyproject(folder: Path | None = None) -> Mapping[str, Any]:
    """Return [tool.pgjobs] of the nearest pyproject.toml, from this folder upwards."""
    import tomllib  # not at the top: most programs are told by their environment

    start = folder or Path.cwd()
    for place in (start, *start.parents):
        path = place / "pyproject.toml"
        if path.is_file():
            try:
                tool = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
            except (ValueError, OSError) as error:  # not TOML, not UTF-8, not ours to read
                raise ConfigurationError(f"{path} cannot be read: {error}.") from None
            table = tool.get("pgjobs", {}) if isinstance(tool, dict) else {}
            return table if isinstance(table, dict) else {}
    return {}


def _text(name: str) -> str | None:
    value = pyproject().get(name)
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{name} under [tool.pgjobs] in pyproject.toml must be a text, not {value!r}.")
    return value
