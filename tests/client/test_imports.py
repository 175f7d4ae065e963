"""What `import pgjobs` brings along: no more than an application needs to enqueue."""

from __future__ import annotations

import json
import subprocess
import sys

import pgjobs


def test_importing_pgjobs_imports_neither_sqlalchemy_nor_alembic_nor_click() -> None:
    code = "import json, sys, pgjobs; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout))
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


def test_importing_pgjobs_reads_no_settings_and_connects_nowhere() -> None:
    code = "import pgjobs; pgjobs.App()"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env={"PGJOBS_DSN": "nonsense"})


def test_everything_that_is_exported_is_there_and_described() -> None:
    for name in pgjobs.__all__:
        assert getattr(pgjobs, name).__doc__
