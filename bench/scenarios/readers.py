"""Three overlapping readers, each with a snapshot of 120 s, beside a fixed rate; against the same without them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from bench.running import Failed
from bench.scenario import Bench, Case, Figures, Scenario, percentiles
from bench.scenarios.latency import stamps, started_at
from bench.stage import Stage
from bench.systems import System


def cases(system: System, bench: Bench) -> Sequence[Case]:
    """Quiet, and with readers, of pgjobs."""
    if system.name != "pgjobs":
        return []
    return [Case("no readers", {"readers": 0}), Case("readers", {"readers": bench.parameters["readers"]})]


def run(bench: Bench, system: System, case: Case) -> Figures:
    """Enqueue at the rate; afterwards see from the stamps how long jobs waited, and how many at a time."""
    known = bench.parameters
    rate, count = known["rate"], round(known["rate"] * known["seconds"])
    with bench.stage(system) as stage:
        enqueued, started = stage.folder / "enqueued", stage.folder / "started"
        with ExitStack() as stack:
            crew = stack.enter_context(stage.workers(1, stamps=started))
            crew.wait_ready()
            stack.enter_context(reading(stage, case.options["readers"], known["held"]))
            before = stage.server_cpu()
            limit = known["seconds"] * 1.2 + 60
            stage.call("enqueue", limit, count=count, rate=rate, clients=max(1, rate // 200), stamps=enqueued)
            crew.wait_executed(count, 120)
            stage.wait_settled(60)
            after, worker = stage.server_cpu(), crew.cpu()
            crew.stop()
        committed, starts = stamps(enqueued), started_at(started)
    if committed.keys() != starts.keys():
        raise Failed(f"{len(starts):,} jobs of {len(committed):,} were started.")
    most = backlog(committed.values(), starts.values())
    return {
        **percentiles([1000 * (starts[n] - at) for n, at in committed.items()]),
        "backlog s": round(most / rate, 3),
        "worker µs/job": round(worker / count * 1e6, 1),
        "server µs/job": round((after - before) / count * 1e6, 1) if after is not None and before is not None else None,
        "jobs": count,
    }


def backlog(committed: Iterable[float], started: Iterable[float]) -> int:
    """How many jobs were committed and not started, at most."""
    events = sorted([(at, 1) for at in committed] + [(at, -1) for at in started])
    most = now = 0
    for _, step in events:
        now += step
        most = max(most, now)
    return most


@contextmanager
def reading(stage: Stage, readers: int, held: float) -> Iterator[None]:
    """Keep so many snapshots open, each for so long, beginning at equal distances, until the block ends."""
    over = threading.Event()
    troubles: list[BaseException] = []

    def reader(number: int) -> None:
        try:
            over.wait(number * held / readers)
            with stage.beside() as db:
                while not over.is_set():
                    with db.transaction():
                        db.execute("set transaction isolation level repeatable read")
                        db.execute("select count(*) from pgjobs.jobs")
                        over.wait(held)
        except BaseException as error:
            troubles.append(error)

    threads = [threading.Thread(target=reader, args=(number,)) for number in range(readers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if troubles:
        raise Failed(f"A reader failed: {troubles[0]}")


SCENARIO = Scenario(
    "readers",
    "Three overlapping readers of 120 s each (REPEATABLE READ) beside 800 jobs a second, against the same without them.",
    cases,
    run,
    ("p50 ms", "p95 ms", "p99 ms", "max ms", "backlog s", "worker µs/job", "server µs/job"),
    comparing=False,
    parameters={"seconds": 900, "rate": 800, "readers": 3, "held": 120.0},
)
