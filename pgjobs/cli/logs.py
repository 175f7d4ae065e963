"""The log of `pgjobs worker`: to standard error, as text for people or one JSON object a line for machines.

Only the command line configures logging; a worker inside an application logs as the application says.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Literal

import click

from pgjobs.cli.tables import printable

_COLOURS = {"DEBUG": "bright_black", "INFO": "green", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
# What every record has; the rest was given by whoever logged, such as the job's id.
_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def configure(level: str, format: Literal["text", "json"]) -> None:
    """Send everything from this level on to standard error. An app that configures logging itself has the last word."""
    handler = logging.StreamHandler(sys.stderr)
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter(colour))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)


class TextFormatter(logging.Formatter):
    """Time, level, message; the job it is about; for loggers that are not ours their name."""

    def __init__(self, colour: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self.default_msec_format = "%s.%03d"
        self._colour = colour

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the first line of the entry."""
        level = f"{record.levelname:<7}"
        if self._colour:
            level = click.style(level, fg=_COLOURS.get(record.levelname))
        name = "" if record.name.partition(".")[0] in ("pgjobs", "root") else f"{record.name}: "
        job = getattr(record, "job", None)
        said = record.message.startswith(f"job {job}")
        about = "" if job is None or said else f"job {job} ({getattr(record, 'task', '?')}): "
        # What a job says can come from anywhere: it must not look like a line of the log, nor steer the terminal.
        message = printable(f"{name}{about}{record.message}").replace("\n", "\n    ")
        return f"{record.asctime} {level} {message}"


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, whatever else was given, and the exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _USUAL},
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)
