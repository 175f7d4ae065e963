"""`python -m bench [SCENARIO ...]`: run scenarios and print their figures as JSON."""

from __future__ import annotations

import argparse
import json

from bench.scenarios import SCENARIOS
from bench.server import server


def main() -> None:
    """Run the scenarios that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "scenario", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; all if none is named"
    )
    parser.add_argument("--dsn", help="a database to measure in, which is emptied; by default a server of our own")
    parser.add_argument("--jobs", type=int, help="how many jobs, instead of each scenario's own number")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another argument of the scenario"
    )
    parser.add_argument("--runs", type=int, default=1, help="how many times each")
    given = parser.parse_args()
    arguments = {name: json.loads(value) for name, _, value in (each.partition("=") for each in given.set)}
    if given.jobs:
        arguments["jobs"] = given.jobs
    if unknown := set(given.scenario) - set(SCENARIOS):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}")
    with server(given.dsn) as dsn:
        for name in given.scenario or SCENARIOS:
            for _ in range(given.runs):
                print(json.dumps({"scenario": name, **SCENARIOS[name](dsn, **arguments)}), flush=True)


if __name__ == "__main__":
    main()
