"""The real SQL does what the model says, whatever happens in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.sql.by_hand import Connect
from tests.sql.model import WORTH, machine_on, profile


def test_the_sql_does_what_the_model_says(connect: Connect) -> None:
    machine = machine_on(connect)
    run_state_machine_as_test(machine, settings=profile(120, 50))
    assert sorted(WORTH - set(machine.happened)) == []


@pytest.mark.long
def test_the_sql_does_what_the_model_says_in_very_many_cases(connect: Connect) -> None:
    """Other cases with every run: what it finds goes into the tests above by name."""
    machine = machine_on(connect)
    run_state_machine_as_test(machine, settings=settings(profile(1000, 80), derandomize=False, print_blob=True))
    assert sorted(WORTH - set(machine.happened)) == []
