"""How many jobs a second are enqueued one by one, each its own commit, by 1, 8 and 32 clients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bench.counters import Statements
from bench.scenario import Bench, Case, Figures, Scenario, cost
from bench.stage import Stage
from bench.systems import System

SLOTS = 10  # of a worker that is to be busy
BUSY = 600_000  # ms that its jobs take: longer than a run


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """Without a worker for all; with idle and with busy ones for pgjobs; with a NOTIFY each heard or not, and by pgbench, for bare."""
    found = []
    for clients in bench.parameters["clients"]:
        who = f"{clients} client{'s' if clients > 1 else ''}"
        many = clients > 1
        match system.name:
            case "pgjobs":
                found += [
                    Case(f"{who}, workers {state}", {"clients": clients, "workers": state})
                    for state in ("busy", "idle")
                ]
                if many:
                    found += [
                        Case(f"{who} in SQL, workers {state}", {"clients": clients, "workers": state, "how": "pgbench"})
                        for state in ("busy", "idle")
                    ]
            case "bare":
                for by, how in ((", ", "psycopg"), (" in SQL, ", "pgbench"))[: 1 + many]:
                    notified = {"clients": clients, "how": f"{how}-notify"}
                    found += [
                        Case(f"{who}{by}".removesuffix(", "), {"clients": clients, "how": how}),
                        Case(f"{who}{by}NOTIFY each", notified),
                        Case(f"{who}{by}NOTIFY each, a worker listens", {**notified, "workers": "idle"}),
                    ]
            case _:
                found.append(Case(who, {"clients": clients}))
                if not bench.quick:
                    found.append(Case(f"{who}, workers idle", {"clients": clients, "workers": "idle"}))
    return [replace(case, place=2 * case.options["clients"] + ("in SQL" in case.label)) for case in found]


def run(bench: Bench, system: System, case: Case) -> Figures:
    """Enqueue for some seconds."""
    options = dict(case.options)
    state = options.pop("workers", None)
    key = ("enqueue", system.name, case.label)
    if bench.parameters["few"]:
        jobs = max(2_000, 200 * options["clients"])
    else:
        least = 20 * options["clients"]
        jobs = bench.count_for(
            key, bench.parameters["seconds"], lambda: pilot(bench, system, state, options), least, 1_000_000
        )
    figures = enqueue(bench, system, state, jobs, options)
    if key not in bench.statements and (counted := statements(bench, system, options)) is not None:
        bench.statements[key] = counted
    if key in bench.statements:
        figures["statements/job"] = bench.statements[key]
    return figures


def pilot(bench: Bench, system: System, state: str | None, options: dict[str, Any]) -> float:
    """Jobs a second in a short run, which is not counted."""
    return float(enqueue(bench, system, state, 100 * options["clients"], options)["jobs/s"])


def enqueue(bench: Bench, system: System, state: str | None, jobs: int, options: dict[str, Any]) -> Figures:
    """Enqueue so many, with workers in this state beside."""
    with bench.stage(system) as stage:
        before = stage.counters()
        with beside(stage, state):
            cpu = stage.server_cpu()
            said = stage.call("enqueue", bench.parameters["limit"], count=jobs, **options)
            server = stage.server_cpu()
        figures: Figures = {
            "jobs/s": round(said["count"] / said["seconds"]),
            "client µs/job": round(said["cpu"] / jobs * 1e6, 1),
            "server µs/job": round((server - cpu) / jobs * 1e6, 1) if server is not None and cpu is not None else None,
            "jobs": jobs,
        }
        if state is None:  # else it is the workers' as well
            figures |= cost(jobs, before, stage.counters())
        return figures


@contextmanager
def beside(stage: Stage, state: str | None) -> Iterator[None]:
    """Workers beside: none; one that waits and runs what comes; one whose slots are taken for longer than the run."""
    if state is None:
        yield
    elif state == "idle":
        with stage.workers(1) as crew:
            crew.wait_ready()
            crew.at_rest(1.0)
            yield
    else:
        stage.fill(SLOTS, ms=BUSY)
        with stage.workers(1, concurrency=SLOTS) as crew:
            crew.wait_ready()
            crew.wait_executed(SLOTS, 60)
            crew.at_rest(1.0)
            yield


def statements(bench: Bench, system: System, options: dict[str, Any]) -> float | None:
    """Statements a job, counted in the server's log, no worker there."""
    if bench.quick or system.kind != "postgresql" or bench.stages.postgres.log is None:
        return None
    with bench.stage(system) as stage:
        assert stage.db is not None
        assert stage.log is not None
        jobs: int = 100 * options["clients"]
        counting = Statements(stage.db, stage.db.info.dbname, stage.log)
        counting.start()
        stage.call("enqueue", 60, count=jobs, **options)
        return round(counting.stop() / jobs, 2)


SCENARIO = Scenario(
    "enqueue",
    "Jobs of 200 bytes one by one, each its own commit, by concurrent connections of one process, or of pgbench.",
    cases,
    run,
    ("jobs/s", "client µs/job", "server µs/job", "WAL B/job", "statements/job"),
    parameters={"clients": [1, 8, 32], "seconds": 4.0, "few": False, "limit": 120},
    quick={"clients": [1, 32], "few": True, "limit": 30},
)
