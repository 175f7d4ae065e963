"""The scenarios by name, one a module; those that compare systems first."""

from bench.scenario import Scenario
from bench.scenarios import (
    bulk,
    deaths,
    depth,
    drain,
    durations,
    enqueue,
    held,
    kills,
    latency,
    mixture,
    queues,
    readers,
    start,
    steady,
    supervised,
)

COMPARING = (drain, enqueue, bulk, latency, held, depth, durations, queues)
OURS = (start, deaths, kills, supervised, mixture, readers, steady)

SCENARIOS: dict[str, Scenario] = {each.SCENARIO.name: each.SCENARIO for each in (*COMPARING, *OURS)}
