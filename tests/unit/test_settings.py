"""Where settings come from: argument, environment, pyproject.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

import pgjobs
from pgjobs import ConfigurationError, settings


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder, and an environment that says nothing."""
    for name in ("PGJOBS_DSN", "DATABASE_URL", "PGJOBS_APP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def test_an_argument_goes_before_the_environment_and_that_before_pyproject(
    monkeypatch: pytest.MonkeyPatch, nowhere: Path
) -> None:
    assert settings.find_dsn() is None
    write(nowhere, '[tool.pgjobs]\ndsn = "dbname=from_pyproject"')
    assert settings.find_dsn() == "dbname=from_pyproject"
    monkeypatch.setenv("DATABASE_URL", "dbname=from_database_url")
    assert settings.find_dsn() == "dbname=from_database_url"
    monkeypatch.setenv("PGJOBS_DSN", "dbname=from_pgjobs_dsn")
    assert settings.find_dsn() == "dbname=from_pgjobs_dsn"
    assert settings.find_dsn("dbname=given") == "dbname=given"
    assert pgjobs.App("dbname=given").dsn == "dbname=given"
    assert pgjobs.App().dsn == "dbname=from_pgjobs_dsn"


def test_an_empty_setting_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGJOBS_DSN", "")
    monkeypatch.setenv("DATABASE_URL", "dbname=x")
    assert settings.find_dsn("") == "dbname=x"


def test_without_a_dsn_anywhere_the_error_names_the_ways_to_give_one() -> None:
    with pytest.raises(ConfigurationError) as refused:
        _ = pgjobs.App().dsn
    for way in ("App(dsn)", "--dsn", "PGJOBS_DSN", "DATABASE_URL", "pyproject.toml"):
        assert way in str(refused.value)


def test_an_app_reads_its_settings_when_it_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    app = pgjobs.App()
    monkeypatch.setenv("PGJOBS_DSN", "dbname=later")
    assert app.dsn == "dbname=later"


@pytest.mark.parametrize(
    "spelling",
    ["postgresql", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+psycopg_async", "postgresql+asyncpg", "postgres+x"],
)  # fmt: skip
def test_sqlalchemys_spelling_of_a_url_is_understood(monkeypatch: pytest.MonkeyPatch, spelling: str) -> None:
    rest = "//user:a+b%40c@db.example:5433/letters?sslmode=require&application_name=postgresql+psycopg://"
    assert settings.dsn(f"{spelling}:{rest}") == f"postgresql:{rest}"
    monkeypatch.setenv("DATABASE_URL", f"{spelling}:{rest}")
    assert settings.dsn() == f"postgresql:{rest}"


@pytest.mark.parametrize("dsn", ["postgres://host/db", "host=/tmp dbname=postgresql+psycopg://", "service=letters"])
def test_other_dsns_stay_as_they_are(dsn: str) -> None:
    assert settings.dsn(dsn) == dsn


def test_the_nearest_pyproject_upwards_counts(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    write(nowhere, '[tool.pgjobs]\ndsn = "dbname=outer"\napp = "letters:app"')
    inner = nowhere / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert settings.find_dsn() == "dbname=outer"
    assert settings.app_path() == "letters:app"
    write(nowhere / "a", "[project]\nname = 'Größe'")
    assert settings.find_dsn() is None


def test_the_app_is_named_by_argument_environment_or_pyproject(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    assert settings.app_path() is None
    write(nowhere, '[tool.pgjobs]\napp = "one:app"')
    assert settings.app_path() == "one:app"
    monkeypatch.setenv("PGJOBS_APP", "two:app")
    assert settings.app_path() == "two:app"
    assert settings.app_path("three:app") == "three:app"


@pytest.mark.parametrize(
    "text", ["", "[tool]", "tool = 1", "[tool]\npgjobs = 3", "[tool.pgjobs]", "[tool.other]\ndsn = 1"]
)
def test_a_pyproject_that_says_nothing_of_pgjobs_says_nothing(nowhere: Path, text: str) -> None:
    write(nowhere, text)
    assert settings.find_dsn() is None


def test_a_pyproject_that_cannot_be_read_is_told_in_a_sentence(nowhere: Path) -> None:
    write(nowhere, "[tool.pgjobs\n")
    with pytest.raises(ConfigurationError, match=r"pyproject.toml cannot be read: "):
        settings.find_dsn()
    (nowhere / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"pyproject.toml cannot be read: "):
        settings.find_dsn()


def test_a_setting_of_the_wrong_kind_is_told_in_a_sentence(nowhere: Path) -> None:
    write(nowhere, "[tool.pgjobs]\ndsn = 5432")
    with pytest.raises(
        ConfigurationError, match=r"^dsn under \[tool.pgjobs\] in pyproject.toml must be a text, not 5432.$"
    ):
        settings.find_dsn()
