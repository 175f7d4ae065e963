"""The teller: hooks in order, each bounded in time, none of them able to hold up or harm anybody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pgjobs import Event
from pgjobs.hooks import Hooks, Kind
from pgjobs.outcome import Done, Failed
from pgjobs.worker import teller
from pgjobs.worker.teller import Teller

BOUND = 0.05


def telling(hooks: dict[Kind, list[Any]], main: Callable[[Teller], Awaitable[None]], bound: float = BOUND) -> None:
    """Run a teller with these hooks around a test's coroutine."""

    async def run() -> None:
        told = Teller(Hooks(hooks), bound)
        await main(told)
        await told.close()

    asyncio.run(asyncio.wait_for(run(), 30))


def test_hooks_of_both_kinds_are_told_in_order() -> None:
    heard: list[tuple[str, str, int]] = []

    async def in_loop(event: Event) -> None:
        heard.append(("loop", event.kind, event.worker))

    def in_thread(event: Event) -> None:
        assert threading.current_thread().name == "pgjobs hooks"
        heard.append(("thread", event.kind, event.worker))

    class Object:
        async def __call__(self, event: Event) -> None:
            heard.append(("object", event.kind, event.worker))

    async def main(told: Teller) -> None:
        told.worker = 7
        told.tell("success")
        told.tell("retry")
        told.tell("failure")
        told.tell("success")
        assert heard == []  # nobody waited

    telling({"success": [in_loop, in_thread, Object()], "failure": [in_thread]}, main, 20)
    once = [("loop", "success", 7), ("thread", "success", 7), ("object", "success", 7)]
    assert heard == [*once, ("thread", "failure", 7), *once]


def test_a_hook_that_raises_is_logged_and_told_of_and_the_next_is_told(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str | None] = []

    async def bad_in_loop(event: Event) -> None:
        raise ValueError("loop")

    def bad_in_thread(event: Event) -> None:
        raise SystemExit("thread")

    def stops(event: Event) -> None:
        raise StopIteration

    def hear(event: Event) -> None:
        heard.append(event.error)
        raise KeyError("this one too")

    async def main(told: Teller) -> None:
        told.tell("success")

    telling({"success": [bad_in_loop, bad_in_thread, stops], "error": [hear]}, main, 20)
    assert heard == ["ValueError: loop", "RuntimeError: SystemExit('thread')", "RuntimeError: StopIteration()"]
    assert "the hook bad_in_loop raised ValueError: loop" in caplog.text
    assert caplog.text.count("the hook hear raised KeyError") == 3  # and of that nobody is told


def test_a_hook_that_hangs_is_left_behind_until_it_returns(caplog: pytest.LogCaptureFixture) -> None:
    gate, async_gate, returned = threading.Event(), asyncio.Event(), threading.Event()
    all_well = asyncio.Event()
    heard: list[str] = []

    def hang(event: Event) -> None:
        heard.append("hang")
        gate.wait(20)
        returned.set()

    async def hang_in_loop(event: Event) -> None:
        heard.append("hang in loop")
        while not async_gate.is_set():
            try:
                await async_gate.wait()
            except asyncio.CancelledError:
                heard.append("not to be cancelled")

    async def well(event: Event) -> None:
        heard.append("well")
        if heard.count("well") == 2:
            all_well.set()

    async def main(told: Teller) -> None:
        for _ in range(2):
            told.tell("success")
        await all_well.wait()
        assert heard == ["hang", "hang in loop", "not to be cancelled", "well", "well"]
        gate.set()
        async_gate.set()
        await asyncio.wait(told._behind.values())
        told.tell("success")

    telling({"success": [hang, hang_in_loop, well]}, main)
    assert returned.is_set()
    assert heard[5:] == ["hang", "hang in loop", "well"]
    assert "the hook hang takes longer than 0.05 s; it is told nothing more until it returns" in caplog.text


def test_what_waits_to_be_told_is_bounded(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teller, "MOST", 10)
    heard: list[Event] = []

    async def main(told: Teller) -> None:
        for _ in range(15):
            told.tell("start")

    telling({"start": [heard.append]}, main, 20)
    assert len(heard) == 10
    dropped = [record.args for record in caplog.records if "were not told" in record.getMessage()]
    assert dropped == [(1,), (2,), (4,)]


def test_at_the_end_there_is_no_waiting_for_ever(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teller, "AT_THE_END", 0.05)
    gate = threading.Event()

    async def main(told: Teller) -> None:
        told.tell("start")
        told.tell("start")

    telling({"start": [lambda event: gate.wait(20)]}, main, 20)
    gate.set()
    assert "events were not told at the end" in caplog.text


def test_an_error_is_told_in_one_line() -> None:
    assert Event("error", 1, None, Failed("ValueError", "no")).error == "ValueError: no"
    assert Event("success", 1, None, Done()).error is None


def test_without_hooks_nothing_is_started() -> None:
    async def main(told: Teller) -> None:
        assert not told
        told.tell("success")
        assert "pgjobs hooks" not in {task.get_name() for task in asyncio.all_tasks()}

    telling({}, main)
