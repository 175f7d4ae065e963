"""The scenarios by name, one a module; those that compare systems first."""

from bench.scenario import Scenario
from bench.scenarios import bulk, drain, enqueue, latency

SCENARIOS: dict[str, Scenario] = {each.SCENARIO.name: each.SCENARIO for each in (drain, enqueue, bulk, latency)}
