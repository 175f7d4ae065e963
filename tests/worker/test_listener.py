from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from pgjobs import calls
from pgjobs import listener as module
from pgjobs.listener import Listener
from pgjobs.testing import break_connections
from tests.conftest import Connection


class Ears:
    """Collects what a listener says."""

    def __init__(self, dsn: str) -> None:
        self.heard: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self.states: asyncio.Queue[bool] = asyncio.Queue()
        self.listener = Listener(dsn, self.heard.put_nowait, self.states.put_nowait)

    async def __aenter__(self) -> Ears:
        self._task = asyncio.create_task(self.listener.run())
        assert await asyncio.wait_for(self.states.get(), 30) is True
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def test_it_hears_what_is_announced_and_shrugs_at_noise(dsn: str, db: Connection) -> None:
    async def main() -> None:
        async with Ears(dsn) as ears:
            for noise in ("", "not json", "[1]", "7"):
                db.execute("select pg_notify('pgjobs', %s)", (noise,))
            db.execute("""select pg_notify('pgjobs', '{"queue": "q", "in": 0}')""")
            assert await asyncio.wait_for(ears.heard.get(), 30) == {"queue": "q", "in": 0}
            assert ears.heard.empty()

    asyncio.run(main())


def test_it_says_so_when_its_connection_breaks_and_comes_back(dsn: str, db: Connection) -> None:
    async def main() -> None:
        async with Ears(dsn) as ears:
            break_connections(db, "pgjobs listener")
            assert await asyncio.wait_for(ears.states.get(), 30) is False
            assert await asyncio.wait_for(ears.states.get(), 30) is True
            db.execute("""select pg_notify('pgjobs', '{"queue": "q", "in": 0}')""")
            assert await asyncio.wait_for(ears.heard.get(), 30) == {"queue": "q", "in": 0}

    asyncio.run(main())


def test_after_a_long_silence_it_proves_that_it_hears(
    dsn: str, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROVE_EVERY", 0.02)
    echoes = asyncio.Queue[str]()
    notify = calls.notify

    def spy(channel: str, payload: str) -> Any:
        echoes.put_nowait(channel)
        return notify(channel, payload)

    monkeypatch.setattr(calls, "notify", spy)

    async def main() -> None:
        async with Ears(dsn) as ears:
            for _ in range(3):
                await asyncio.wait_for(echoes.get(), 30)
            assert ears.states.empty()  # it never doubted

    asyncio.run(main())


def test_a_connection_on_which_nothing_is_heard_is_given_up(
    dsn: str, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pooler in transaction mode does: LISTEN succeeds, and is forgotten."""
    monkeypatch.setattr(module, "PROVE_EVERY", 0.02)
    monkeypatch.setattr(module, "PROVE_WITHIN", 0.2)
    listen = calls.listen
    forgets = True

    def forgetful(channel: str) -> Any:
        return listen(channel) if not forgets else calls.Call("select 1", (), lambda rows: None)

    monkeypatch.setattr(calls, "listen", forgetful)

    async def main() -> None:
        nonlocal forgets
        async with Ears(dsn) as ears:
            assert await asyncio.wait_for(ears.states.get(), 30) is False
            forgets = False
            while not await asyncio.wait_for(ears.states.get(), 30):
                pass
            db.execute("""select pg_notify('pgjobs', '{"queue": "q", "in": 0}')""")
            assert await asyncio.wait_for(ears.heard.get(), 30) == {"queue": "q", "in": 0}

    asyncio.run(main())
