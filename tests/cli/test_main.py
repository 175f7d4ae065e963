"""The main group: help, options in both places, errors at the edge, exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import psycopg
import pytest

import pgjobs
from pgjobs.cli import COMMANDS, main
from pgjobs.settings import NO_DSN
from tests.cli.conftest import NO_SERVER, Cli, Start, WriteApp


def test_help_names_every_command_with_what_it_does(cli: Cli) -> None:
    result = cli("--help")
    assert result.exit_code == 0
    for section, commands in COMMANDS.items():
        assert f"{section}:\n" in result.stdout
        for name, (_, what) in commands.items():
            assert any(line.split()[:1] == [name] and line.endswith(what) for line in result.stdout.splitlines())


@pytest.mark.parametrize("name", [name for section in COMMANDS.values() for name in section])
def test_every_command_has_help_with_an_example_and_takes_the_common_options(cli: Cli, name: str) -> None:
    result = cli(name, "--help")
    assert result.exit_code == 0
    assert f"\n    pgjobs {name}" in result.stdout
    for option in ("--dsn", "--app", "--debug"):
        assert option in result.stdout


def test_the_commands_of_a_group_have_help_with_an_example_too(cli: Cli) -> None:
    groups = 0
    for section in COMMANDS.values():
        for name in section:
            command = main.get_command(click.Context(main), name)
            for inner in command.commands if isinstance(command, click.Group) else ():
                assert f"\n    pgjobs {name} {inner}" in cli(name, inner, "--help").stdout
                groups += 1
    assert groups > 0


def test_the_version_is_told(cli: Cli) -> None:
    assert cli("--version").stdout == f"pgjobs {pgjobs.__version__}\n"


@pytest.mark.parametrize(
    "line",
    [
        "statsu",
        "status --jsno",
        "list --status gone",
        "list --limit 0",
        "show",
        "show x",
        "enqueue x --priority urgent",
        "enqueue x --priority 3",
        "enqueue x --delay soon",
        "enqueue x --max-attempts 0",
        "enqueue x --timeout -1",
        "retry-failed --id 0",
        "retry-failed --since long",
        "retry-failed --limit 0",
        "worker --concurrency 0",
        "worker --lease x",
        "worker --log-level loud",
        "--dsn= status",
    ],
)
def test_wrong_usage_ends_with_2(cli: Cli, line: str) -> None:
    result = cli(*line.split())
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


def test_common_options_may_stand_before_and_after_the_command(cli: Cli, dsn: str) -> None:
    for arguments in (["--dsn", dsn, "status"], ["status", "--dsn", dsn], ["--dsn", NO_SERVER, "status", "--dsn", dsn]):
        result = cli(*arguments)
        assert (result.exit_code, result.stderr) == (0, "")


def test_a_dsn_given_by_option_wins_over_the_apps_own_and_that_over_the_environment(
    cli: Cli, dsn: str, empty: str, write_app: WriteApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_app(f"app = pgjobs.App({dsn!r})")
    monkeypatch.setenv("PGJOBS_DSN", empty)
    assert cli("status").exit_code == 1
    assert cli("status", "--app", path).exit_code == 0
    assert cli("status", "--app", path, "--dsn", empty).exit_code == 1
    monkeypatch.setenv("PGJOBS_APP", path)
    assert cli("status").exit_code == 0


def test_app_and_dsn_may_come_from_pyproject(cli: Cli, dsn: str, write_app: WriteApp, tmp_path: Path) -> None:
    path = write_app("@app.task\ndef work(): ...")
    (tmp_path / "pyproject.toml").write_text(f'[tool.pgjobs]\ndsn = "{dsn}"\napp = "{path}"\n')
    assert cli("enqueue", "work").exit_code == 0
    assert "has no task 'play'" in cli("enqueue", "play").stderr


def test_without_a_dsn_the_error_names_the_ways_to_give_one(cli: Cli) -> None:
    result = cli("status")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {NO_DSN}\n")


@pytest.mark.parametrize("command", [["status"], ["list"], ["workers"], ["show", "1"], ["enqueue", "x"], ["migrate"]])
def test_a_server_that_is_down_is_one_sentence_with_the_reason(cli: Cli, command: list[str]) -> None:
    result = cli(*command, "--dsn", NO_SERVER)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Connection refused" in result.stderr
    assert "--dsn" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["status", "migrate"])
def test_a_dsn_that_cannot_be_read_is_one_sentence_without_the_password(cli: Cli, command: str) -> None:
    result = cli(command, "--dsn", "postgresql//ann:secret@host/db")
    assert result.exit_code == 1
    assert "The DSN cannot be read" in result.stderr
    assert "secret" not in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command", [["status"], ["list"], ["workers"], ["show", "1"], ["enqueue", "x"], ["retry-failed"]]
)
def test_a_database_without_the_schema_is_told_to_be_migrated(cli: Cli, empty: str, command: list[str]) -> None:
    result = cli(*command, "--dsn", empty)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "run `pgjobs migrate`" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.usefixtures("own_database")
@pytest.mark.parametrize(
    ("version", "serves_from", "advice"), [(0, 0, "run `pgjobs migrate`"), (99, 98, "install a newer pgjobs")]
)
def test_a_schema_too_old_or_too_new_is_told(cli: Cli, here: str, version: int, serves_from: int, advice: str) -> None:
    with psycopg.connect(here, autocommit=True) as connection:
        connection.execute(
            "create or replace function pgjobs.schema_version(out version integer, out serves_from integer)"
            f" language sql as 'select {version}, {serves_from}'"
        )
    result = cli("status")
    assert (result.exit_code, result.stdout) == (1, "")
    assert advice in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_role_without_rights_is_told_so(cli: Cli, here: str) -> None:
    with psycopg.connect(here, autocommit=True) as connection:
        role = f"pgjobs_nobody_{os.getpid()}"  # roles belong to the whole server
        connection.execute(f"create role {role} login password 'x'")
        try:
            dsn = psycopg.conninfo.make_conninfo(here, user=role, password="x")
            for command in ("status", "migrate"):
                result = cli(command, "--dsn", dsn)
                assert result.exit_code == 1
                assert "permission denied" in result.stderr
                assert result.stderr.count("\n") == 1
        finally:
            connection.execute(f"drop role {role}")


@pytest.mark.parametrize("arguments", [["--debug", "status"], ["status", "--debug"]])
def test_debug_shows_the_traceback_and_then_the_sentence(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert result.stderr.endswith(f"Error: {NO_DSN}\n")


def test_whatever_else_goes_wrong_is_one_sentence_too(cli: Cli, here: str) -> None:
    with psycopg.connect(here, autocommit=True) as connection:
        connection.execute(
            "create or replace function pgjobs.now() returns timestamptz language plpgsql as"
            " $$begin return clock_timestamp() / 0; end$$"
        )
    result = cli("enqueue", "x")
    assert result.exit_code == 1
    assert "operator does not exist" in result.stderr
    assert "--debug" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_reader_who_leaves_early_causes_no_traceback(here: str, start: Start) -> None:
    with psycopg.connect(here, autocommit=True) as connection:
        connection.execute("select count(pgjobs.enqueue('x')) from generate_series(1, 3000)")
    process = start("list", "--limit", "3000")
    assert process.stdout
    assert process.stdout.readline().startswith("ID")
    process.stdout.close()
    assert process.stderr
    assert process.stderr.read() == ""
    assert process.wait() == 1


def test_an_interrupt_ends_without_a_traceback(start: Start, write_app: WriteApp) -> None:
    path = write_app("import threading\nprint('importing', flush=True)\nthreading.Event().wait()")
    process = start("status", "--app", path)
    assert process.stdout
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, log = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in log


def test_a_thread_that_an_app_leaves_behind_does_not_keep_the_program_alive(start: Start, write_app: WriteApp) -> None:
    path = write_app("import threading\nthreading.Thread(target=threading.Event().wait, name='stray').start()")
    process = start("status", "--app", path)
    _, log = process.communicate()
    assert process.returncode == 1
    assert [NO_DSN in log, "stray" in log] == [True, True]


def test_help_imports_no_command(start: Start) -> None:
    code = (
        "import sys; from pgjobs.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(sorted(name for name in sys.modules if name.startswith('pgjobs.cli.')))"
    )
    out, _ = start(program=("-c", code)).communicate()
    assert out.splitlines()[-1] == "['pgjobs.cli.edge', 'pgjobs.cli.target']"


def test_only_a_migration_imports_alembic_and_sqlalchemy(here: str, start: Start, write_app: WriteApp) -> None:
    code = (
        "import sys; from pgjobs.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(not {'alembic', 'sqlalchemy'} & set(sys.modules))"
    )
    path = write_app("@app.task\ndef work(): ...")
    for command, is_free in ((["worker", "--drain", "--app", path], True), (["status"], True), (["migrate"], False)):
        process = start(*command, program=("-c", code))
        out, log = process.communicate()
        assert process.returncode == 0, log
        assert out.splitlines()[-1] == str(is_free)


def test_it_can_be_called_as_a_module_and_by_its_name() -> None:
    for program in ([sys.executable, "-m", "pgjobs"], [str(Path(sys.executable).with_name("pgjobs"))]):
        out = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True).stdout
        assert out == f"pgjobs {pgjobs.__version__}\n"
