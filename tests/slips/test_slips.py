"""Every message that somebody meets by doing something wrong in the tutorial says what was wrong and what to do."""

from __future__ import annotations

import asyncio
import re
import shlex
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

import pgjobs
from tests.cli.conftest import Cli
from tests.slips.conftest import url
from tests.slips.slips import SLIPS, Slip
from tests.sql.one_database import one_database

database, dsn = one_database()


def test_there_are_enough_slips_and_no_two_are_the_same() -> None:
    assert len(SLIPS) >= 50
    assert len({slip.what for slip in SLIPS}) == len(SLIPS)


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.what)
def test_a_slip_is_told_in_a_sentence(
    slip: Slip, tutorial: Path, dsn: str, empty: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file, text in slip.files.items():
        (tutorial / file).write_text(text)
    for name, value in slip.environment.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
    databases = {"dsn": url(dsn), "empty": url(empty), "dsn_as_nobody": re.sub("//.*?:", "//nobody_here:", url(dsn))}
    says = [part.format(**databases) for part in slip.says]
    do = slip.do.format(**databases)
    told = by_command(slip, do, cli) if do.startswith("pgjobs ") else by_python(slip, do)
    for part in says:
        assert part in told
    assert told.count("\n") <= 1, "one sentence"


def test_a_blocking_enqueue_in_an_event_loop_is_told_once(
    tutorial: Path, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def in_a_loop() -> None:
        for _ in range(2):
            app.enqueue_spec(pgjobs.Spec("write_invoice"))

    with closing(pgjobs.App(url(dsn))) as app:
        app.enqueue_spec(pgjobs.Spec("write_invoice"))
        assert caplog.messages == []
        asyncio.run(in_a_loop())
    assert len(caplog.messages) == 1
    assert "use the one with an a, like `await task.aenqueue(...)`" in caplog.text


def by_command(slip: Slip, line: str, cli: Cli) -> str:
    *before, last = line.split(" && ")
    for command in before:
        assert cli(*shlex.split(command)[1:]).exit_code == 0
    result = cli(*shlex.split(last)[1:])
    assert result.exit_code == slip.status, result.output
    if slip.status == 2:  # the usage stands above it
        return result.stderr.splitlines()[-1]
    if slip.status == 0:  # a warning among other lines of the log
        return next((line for line in result.stderr.splitlines() if "WARNING" in line), "")
    assert result.stdout == ""
    return result.stderr


def by_python(slip: Slip, code: str) -> str:
    imports = (
        "import asyncio\nfrom jobs import app, write_invoice\nfrom models import Order, engine\n"
        "from sqlalchemy import create_engine\nfrom sqlalchemy.orm import Session, sessionmaker\n"
        "from sqlalchemy.ext.asyncio import AsyncSession\n"
        "from psycopg import AsyncConnection\nfrom contextlib import closing\n"
    )
    namespace = {"pgjobs": pgjobs, "datetime": datetime, "UTC": UTC, "__name__": "page"}
    exec(imports, namespace)
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which one, the slip says)
        exec(code, namespace)
    assert type(caught.value).__name__ == slip.raises, repr(caught.value)
    return str(caught.value)
