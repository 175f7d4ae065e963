"""What `import pgjobs` brings along: no more than an application needs to enqueue."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import pgjobs
from pgjobs import public


def modules_after(code: str) -> set[str]:
    """What is imported after this code, in an interpreter of its own."""
    code = f"import json, sys; {code}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_an_app_imports_neither_sqlalchemy_nor_alembic_nor_click() -> None:
    modules = modules_after("import pgjobs; pgjobs.App")
    assert "pgjobs.app" in modules
    heavy = {
        "sqlalchemy",
        "alembic",
        "click",
        "croniter",
        "pgjobs.schema",
        "pgjobs.embedded",
        "pgjobs.cli",
        "asyncpg",
        "django",
    }
    assert modules & heavy == set()


def test_pgjobs_is_imported_when_its_first_name_is_asked_for() -> None:
    modules = modules_after("import pgjobs; assert {'App', 'Retry', '__version__'} <= set(dir(pgjobs))")
    assert {name for name in modules if name.startswith("pgjobs")} == {"pgjobs", "pgjobs.version"}
    assert "pgjobs.app" in modules_after("from pgjobs import App")
    with pytest.raises(AttributeError, match="module 'pgjobs' has no attribute 'Snoze'"):
        pgjobs.Snoze  # type: ignore[attr-defined]  # noqa: B018


def test_what_pgjobs_exports_is_what_its_module_of_public_names_has() -> None:
    assert sorted(pgjobs.__all__) == sorted([*public.__all__, "__version__"])


def test_importing_pgjobs_reads_no_settings_and_connects_nowhere() -> None:
    code = "import pgjobs; pgjobs.App()"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env={"PGJOBS_DSN": "nonsense"})


def test_everything_that_is_exported_is_there_and_described() -> None:
    for name in pgjobs.__all__:
        assert getattr(pgjobs, name).__doc__
