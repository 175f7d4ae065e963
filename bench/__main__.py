"""`python -m bench [SCENARIO ...]`: measure pgjobs, its peers and the bare database, on one server with fsync on."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from bench import environments, machine, server
from bench.compare import compare, told
from bench.plots import draw
from bench.readme import into_readme
from bench.report import report
from bench.results import Result, Run
from bench.rounds import choose_parameters, measure
from bench.scenario import Bench
from bench.scenarios import SCENARIOS
from bench.stage import Stages
from bench.systems import System, systems

QUICK_SYSTEMS = ("pgjobs", "bare", "graphile-worker", "pgqueuer")


def main() -> int:
    """Run what is asked for; return the exit status."""
    given = arguments()
    signal.signal(signal.SIGTERM, stopped)  # so that all that was started ends
    try:
        if given.into_readme or given.report:
            return again(given)
        return bench(given)
    except KeyboardInterrupt:
        return 130


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "scenario", nargs="*", metavar="SCENARIO",
        help=f"of {', '.join(SCENARIOS)}; by default those that compare systems; `all` for the long ones too",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="a short form, under 3 minutes")
    parser.add_argument("--system", action="append", metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--case", metavar="TEXT", help="only cases with this text in their label, such as '1 process'")
    parser.add_argument("--runs", type=int, help="rounds: 3, or 1 of the short form")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go; build/bench/results/ by default")
    parser.add_argument("--dsn", help="a server on which databases of our own may be made; by default one is started")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="a parameter of the scenarios")
    parser.add_argument("--all-depths", action="store_true", help="depth: the peers too with as many others as pgjobs")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="a saved result.json: a loss is exit status 1")
    parser.add_argument(
        "--into-readme", type=Path, metavar="DIR", help="put the report of this result into bench/README.md"
    )
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.md and the plots of this result anew")
    given = parser.parse_args()
    try:
        given.set = {name: json.loads(value) for name, _, value in (each.partition("=") for each in given.set)}
    except ValueError:
        parser.error("--set takes NAME=JSON, such as --set seconds=600 or --set 'clients=[1, 8]'")
    names = list(SCENARIOS) if given.scenario == ["all"] else given.scenario
    if unknown := set(names) - set(SCENARIOS):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    known = systems()
    if unknown := set(given.system or ()) - set(known):
        parser.error(f"there is no system {', '.join(sorted(unknown))}")
    given.scenarios = [
        each
        for each in SCENARIOS.values()
        if (each.name in names if names else (each.quick is not None if given.quick else each.comparing))
    ]
    given.systems = choose(given, known)
    given.runs = given.runs or (1 if given.quick else 3)
    if unknown := set(given.set) - {name for each in given.scenarios for name in each.parameters}:
        parser.error(f"none of the scenarios has a parameter {', '.join(sorted(unknown))}")
    return given


def choose(given: argparse.Namespace, known: dict[str, System]) -> dict[str, System]:
    """The systems: those that are named, or all; the short form installs nothing."""
    if given.system:
        return {name: system for name, system in known.items() if name in given.system}
    if not given.quick:
        return known
    able = {name: system for name, system in known.items() if name in QUICK_SYSTEMS}
    ready = {name: system for name, system in able.items() if environments.is_ready(system)}
    if left_out := sorted(set(able) - set(ready)):
        print(f"Left out, since nothing has been installed for it yet: {', '.join(left_out)}.", file=sys.stderr)
    return ready


def bench(given: argparse.Namespace) -> int:
    """Start the server, run the scenarios, write the results."""
    with ExitStack() as stack:
        postgres = stack.enter_context(server.postgres(given.dsn))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        stages = Stages(postgres, folder, stack.enter_context(ExitStack()))
        around = machine.describe()
        out = (
            given.out
            or environments.ROOT / "build" / "bench" / "results" / f"{around['date'][:16]}-{around['commit'][:8]}"
        )
        out.mkdir(parents=True, exist_ok=True)
        result = Result(around, postgres.settings(), {n: words(s) for n, s in given.systems.items()}, {})
        print(json.dumps({"machine": around, "server": result.server}), file=sys.stderr)

        def note(run: Run) -> None:
            result.runs.append(run)
            result.write(out)
            told = run.figures if run.failed is None else {"failed": run.failed}
            line = {"scenario": run.scenario, "case": run.case, "system": run.system, "round": run.round + 1, **told}
            print(json.dumps({**line, "took s": run.seconds}, ensure_ascii=False), flush=True)

        context = Bench(stages, given.systems, given.quick, given.all_depths)
        for scenario in given.scenarios:
            used = choose_parameters(scenario, context, given.set)
            result.scenarios[scenario.name] = {"about": scenario.about, "parameters": used}
            measure(scenario, context, given.runs, note, given.case)
    finish(result, out)
    print(f"The result is in {out}.", file=sys.stderr)
    return verdict(given.compare, result)


def verdict(saved: Path | None, result: Result) -> int:
    """Compare with a saved result, if one is named: 1 if anything is lost."""
    if saved is None:
        return 0
    changes = compare(Result.read(saved), result)
    print(told(changes))
    return int(any(change.is_loss for change in changes))


def finish(result: Result, out: Path) -> None:
    """Write the result, its plots and its report."""
    result.write(out)
    drawn: list[str] = []
    if find_spec("matplotlib"):
        drawn = draw(result, out)
    else:
        print("No plots: matplotlib is not installed (pip install -e '.[bench]').", file=sys.stderr)
    (out / "report.md").write_text(report(result, drawn))


def again(given: argparse.Namespace) -> int:
    """Nothing is measured: the report of a saved result is written anew and compared, or put into the README."""
    if given.into_readme:
        into_readme(given.into_readme)
    if given.report is None:
        return 0
    result = Result.read(given.report)
    finish(result, given.report)
    return verdict(given.compare, result)


def words(system: System) -> dict[str, Any]:
    """What is said of a system in the result."""
    return {
        "kind": system.kind,
        "requirements": list(system.requirements),
        "settings": system.settings,
        "promises": system.promises,
    }


def stopped(*_: object) -> NoReturn:
    """Leave by way of everything that must end."""
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main())
