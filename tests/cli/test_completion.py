"""Completion, by a real bash, which asks the real program."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pgjobs
from tests.cli.conftest import NO_SERVER, Cli, WriteApp

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def completed(cli: Cli, *words: str) -> list[str]:
    """Press the tabulator after these words."""
    script = cli("completion", "bash").stdout
    script += 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pgjobs_completion pgjobs; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", "pgjobs", *words],
        capture_output=True, text=True, check=True, env=os.environ | {"PATH": PATH},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_and_options(cli: Cli) -> None:
    assert completed(cli, "st") == ["status"]
    assert completed(cli, "retry-failed", "--dry") == ["--dry-run"]
    assert completed(cli, "make", "t") == ["task"]


def test_bash_completes_the_queues_of_the_database(cli: Cli, here: str, app: pgjobs.App) -> None:
    for queue in ("mail", "märz", "ocr"):
        app.enqueue_spec(pgjobs.Spec("x", queue=queue))
    assert completed(cli, "list", "--queue", "m") == ["mail", "märz"]
    assert completed(cli, "list", "--queue", "") == ["mail", "märz", "ocr"]


def test_bash_completes_the_tasks_of_the_app(cli: Cli, write_app: WriteApp) -> None:
    path = write_app("print('imported')\n@app.task\ndef read_letter(): ...\n@app.task\ndef read_page(): ...\n")
    assert completed(cli, "enqueue", "--app", path, "read_") == ["read_letter", "read_page"]


def test_what_cannot_be_asked_is_not_completed_and_nothing_is_said(cli: Cli, write_app: WriteApp) -> None:
    assert completed(cli, "list", "--dsn", NO_SERVER, "--queue", "") == []
    assert completed(cli, "enqueue", "--app", write_app("import nothere"), "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_its_script(cli: Cli, shell: str) -> None:
    result = cli("completion", shell)
    assert result.exit_code == 0
    assert "_PGJOBS_COMPLETE" in result.stdout
