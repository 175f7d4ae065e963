"""`python -m bench [SCENARIO ...]`: measure pgjobs, its peers and the bare database, on one server with fsync on."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from bench import environments, machine, server
from bench.results import Result, Run
from bench.rounds import measure
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
    parser.add_argument("--runs", type=int, help="rounds: 3, or 1 of the short form")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go; build/bench/results/ by default")
    parser.add_argument("--dsn", help="a server on which databases of our own may be made; by default one is started")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="a parameter of the scenarios")
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

        context = Bench(stages, given.systems, given.quick)
        for scenario in given.scenarios:
            used = measure(scenario, context, given.runs, given.set, note)
            result.scenarios[scenario.name] = {"about": scenario.about, "parameters": used}
        print(f"The result is in {result.write(out).parent}.", file=sys.stderr)
    return 0


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
