"""--app: what is imported, and the sentences for what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli, WriteApp


@pytest.mark.parametrize(
    ("text", "path", "error"),
    [
        ("", "nowhere:app", "There is no module nowhere"),
        ("", "jobs.deeper:app", "There is no module jobs.deeper"),
        ("import nothere", "jobs:app", "failed: ModuleNotFoundError: No module named 'nothere' ("),
        ("raise ValueError('no\\ngood')", "jobs:app", "failed: ValueError: no good ("),
        ("def f(:", "jobs:app", "failed: SyntaxError: "),
        ("raise SystemExit('bye')", "jobs:app", "failed: SystemExit: bye ("),
        ("", "jobs:nothing", "has no 'nothing' (--app jobs:nothing); try jobs:app."),
        ("other = 1", "jobs:other", "is of type int and not a pgjobs.App; try jobs:app."),
        ("", "jobs", "is not written as package.module:name"),
        ("", "jobs.py:app", "is not written as package.module:name"),
    ],
)
def test_an_app_that_cannot_be_had_is_one_sentence(
    cli: Cli, write_app: WriteApp, text: str, path: str, error: str
) -> None:
    write_app(text)
    result = cli("worker", "--app", path, "--drain")
    assert result.exit_code == 1
    assert error in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_error_of_an_import_has_its_traceback_with_debug(cli: Cli, write_app: WriteApp) -> None:
    result = cli("worker", "--app", write_app("{}['missing']"), "--debug")
    assert "{}['missing']" in result.stderr
    assert "KeyError: 'missing'" in result.stderr


def test_the_error_says_who_named_the_app(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.pgjobs]\napp = "nowhere:app"\n')
    assert "(pyproject.toml)" in cli("worker").stderr
    monkeypatch.setenv("PGJOBS_APP", "nowhere:app")
    assert "(PGJOBS_APP)" in cli("worker").stderr
    assert "(--app)" in cli("worker", "--app", "nowhere:app").stderr


def test_a_worker_without_an_app_names_the_ways_to_give_one(cli: Cli) -> None:
    result = cli("worker")
    assert result.exit_code == 1
    for way in ("--app", "PGJOBS_APP", "[tool.pgjobs]"):
        assert way in result.stderr


def test_a_broken_app_does_not_hinder_who_gives_the_dsn(cli: Cli, dsn: str, write_app: WriteApp) -> None:
    path = write_app("import nothere")
    refused = cli("status", "--app", path)
    assert refused.exit_code == 1
    assert "With --dsn" in refused.stderr
    assert cli("status", "--app", path, "--dsn", dsn).exit_code == 0


def test_an_app_may_be_the_attribute_of_something(cli: Cli, here: str, write_app: WriteApp) -> None:
    write_app("class Shop:\n    jobs = pgjobs.App()")
    assert cli("status", "--app", "jobs:Shop.jobs").exit_code == 0
