"""`pgjobs init`: what it writes works, and what is there stays as it is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import pgjobs
from tests.cli.conftest import Cli, Start

BEFORE = '[project]\nname = "shop"\n\n[tool.ruff]\nline-length = 88  # as ever\n'


def a_package(folder: Path, name: str) -> Path:
    package = folder / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    return package


def test_a_project_gets_an_app_with_a_task_that_a_worker_runs(
    cli: Cli, here: str, start: Start, tmp_path: Path, app: pgjobs.App
) -> None:
    (tmp_path / "pyproject.toml").write_text(BEFORE)
    a_package(tmp_path, "shop_of_init")
    result = cli("init")
    assert result.exit_code == 0, result.output
    assert "Wrote shop_of_init/jobs.py" in result.stdout
    assert "pgjobs dev" in result.stdout
    text = (tmp_path / "pyproject.toml").read_text()
    assert text.startswith(BEFORE)
    assert tomllib.loads(text)["tool"]["pgjobs"] == {"app": "shop_of_init.jobs:app"}
    id = app.enqueue_spec(pgjobs.Spec("say_hello", '{"name": "Ann"}'))
    process = start("worker", "--drain")
    _, log = process.communicate()
    assert process.returncode == 0, log
    assert app.job(id).result == "Hello Ann"


@pytest.mark.parametrize(
    ("place", "name"), [("src/shop", "shop.jobs:app"), ("shop", "shop.jobs:app"), (None, "jobs:app")]
)
def test_the_app_goes_where_the_projects_code_is(cli: Cli, tmp_path: Path, place: str | None, name: str) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    a_package(tmp_path, "tests")
    if place is not None:
        a_package(a_package(tmp_path, place), "inner")
    assert cli("init").exit_code == 0
    assert (tmp_path / "pyproject.toml").read_text() == f'[tool.pgjobs]\napp = "{name}"\n'
    assert (tmp_path / (place or ".") / "jobs.py").exists()


def test_of_several_packages_one_has_to_be_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    for name in ("bakery", "shop"):
        a_package(tmp_path, name)
    refused = cli("init")
    assert refused.exit_code == 1
    assert "say which by --package; there is bakery, shop" in refused.stderr
    assert "There is no package 'shopp'" in cli("init", "--package", "shopp").stderr
    assert cli("init", "--package", "shop").exit_code == 0
    assert not (tmp_path / "bakery" / "jobs.py").exists()


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({}, "There is no pyproject.toml in"),
        ({"pyproject.toml": "[tool.pgjobs]\n"}, "has a table [tool.pgjobs] already"),
        ({"pyproject.toml": "[tool\n"}, "pyproject.toml cannot be read"),
        ({"pyproject.toml": "", "jobs.py": "mine"}, "jobs.py is there already and stays as it is"),
    ],
)
def test_what_is_there_stays_and_why_is_told_in_a_sentence(
    cli: Cli, tmp_path: Path, files: dict[str, str], error: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    result = cli("init")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert error in result.stderr
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files
