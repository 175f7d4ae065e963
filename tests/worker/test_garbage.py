"""Cycles are looked for seldom in a worker's own process, and as before after it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

import pgjobs
from pgjobs.worker.garbage import NEW_OBJECTS, seldom_collected


@pytest.fixture(autouse=True)
def _as_python_has_it() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)
    gc.enable()


def test_a_worker_that_has_its_process_to_itself_collects_seldom(app: pgjobs.App) -> None:
    seen: list[tuple[int, int]] = []

    @app.task
    async def look() -> None:
        seen.append((gc.get_threshold()[0], gc.get_freeze_count()))

    look.enqueue()
    app.run_worker(["default"], drain=True)
    [(threshold, frozen)] = seen
    assert threshold == NEW_OBJECTS
    assert frozen > 1_000
    assert gc.get_threshold() == (700, 10, 10)
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("threshold", [0, NEW_OBJECTS + 1])
def test_an_application_that_has_said_otherwise_is_obeyed(threshold: int) -> None:
    gc.set_threshold(threshold, 10, 10)
    with seldom_collected():
        assert gc.get_threshold() == (threshold, 10, 10)


def test_a_collector_that_was_switched_off_is_left_alone() -> None:
    gc.disable()
    with seldom_collected():
        assert gc.get_threshold() == (700, 10, 10)
        assert not gc.isenabled()
