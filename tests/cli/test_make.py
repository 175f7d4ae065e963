"""`pgjobs make task`: what it writes works, and what is there stays as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pgjobs
from tests.cli.conftest import Cli, Start

APP = "import pgjobs\n\napp = pgjobs.App()\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[tool.pgjobs]\napp = "shop.jobs:app"\n')
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "jobs.py").write_text(APP)
    return tmp_path


@pytest.mark.parametrize(("option", "executor"), [([], "thread"), (["--async"], "async"), (["--process"], "process")])
def test_a_task_is_added_to_the_apps_module_with_a_test_that_passes(
    cli: Cli, here: str, start: Start, project: Path, app: pgjobs.App, option: list[str], executor: str
) -> None:
    (project / "tests").mkdir()
    result = cli("make", "task", "send_letter", "--queue", 'the "post"', *option)
    assert result.exit_code == 0, result.output
    assert "Added send_letter to shop/jobs.py" in result.stdout
    assert "Wrote tests/test_send_letter.py" in result.stdout
    assert (project / "shop" / "jobs.py").read_text().startswith(APP)
    subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=.", "-o", "pythonpath=."],
        cwd=project, check=True, capture_output=True,
    )  # fmt: skip
    show = "from shop.jobs import app; print(app['send_letter'].options_.executor)"
    told = subprocess.run([sys.executable, "-c", show], cwd=project, check=True, capture_output=True, text=True)
    assert told.stdout == f"{executor}\n"
    id = app.enqueue_spec(pgjobs.Spec("send_letter", queue='the "post"'))
    process = start("worker", "--drain")
    _, log = process.communicate()
    assert process.returncode == 0, log
    assert app.job(id).status is pgjobs.Status.COMPLETED


def test_a_new_module_imports_the_app_and_says_where_to_import_it(cli: Cli, project: Path) -> None:
    result = cli("make", "task", "read_page", "--module", "shop.reading")
    assert result.exit_code == 0, result.output
    assert "Wrote shop/reading.py with read_page" in result.stdout
    assert "`import shop.reading` at the end of shop/jobs.py" in result.stdout
    assert (project / "shop" / "reading.py").read_text().startswith("from shop.jobs import app\n")
    assert not (project / "tests").exists()
    again = cli("make", "task", "read_book", "--module", "shop.reading")
    assert "Added read_book to shop/reading.py" in again.stdout
    subprocess.run([sys.executable, "-W", "error", "-c", "import shop.reading"], cwd=project, check=True)


def test_a_test_that_is_there_stays(cli: Cli, project: Path) -> None:
    (project / "tests").mkdir()
    (project / "tests" / "test_send_letter.py").write_text("mine")
    assert "is there already and stays as it is" in cli("make", "task", "send_letter").stdout
    assert (project / "tests" / "test_send_letter.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["2nd"], "'2nd' cannot be the name of a function"),
        (["class"], "'class' cannot be the name of a function"),
        (["app"], "has app already"),
        (["__init__"], "'__init__' is no good name of a task: it has a meaning in Python."),
        (["test_letter"], "'test_letter' is no good name of a task: pytest would take it for a test."),
        (["send_letter", "--module", "os"], "'os' is a module of Python's own, which this one would hide"),
        (["send_letter", "--module", "json.letters"], "'json' is a module of Python's own"),
        (["send_letter", "--module", "shop.__init__"], "'shop.__init__' has a meaning in Python"),
        (["send_letter", "--queue", ""], "The name of a queue must have"),
        (["send_letter", "--module", "shop/letters"], "is not the name of a module"),
        (["send_letter", "--module", "bakery.letters"], "There is no folder bakery"),
        (["send_letter", "--module", "shop"], "does not know the app app"),
        (["send_letter", "--app", "nowhere:app"], "There is no module nowhere"),
        (["send_letter", "--app", "shop.jobs"], "is not written as package.module:name"),
    ],
)
def test_what_cannot_be_made_is_refused_in_a_sentence(
    cli: Cli, project: Path, arguments: list[str], error: str
) -> None:
    before = {path: path.read_text() for path in project.rglob("*.*")}
    result = cli("make", "task", *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert error in result.stderr
    assert {path: path.read_text() for path in project.rglob("*.*")} == before


def test_a_broken_module_and_a_project_without_an_app_are_told(cli: Cli, project: Path) -> None:
    (project / "shop" / "jobs.py").write_text("app = (\n")
    assert "shop/jobs.py has a syntax error in line 1" in cli("make", "task", "send_letter").stderr
    (project / "pyproject.toml").write_text("")
    assert "`pgjobs init` makes one" in cli("make", "task", "send_letter").stderr
