"""Who answers the verbs in place of a database, while tests run: the one seam in the app, for pgjobs.testing."""

from __future__ import annotations

from typing import Any, Protocol

from pgjobs.async_client import AsyncClient
from pgjobs.client import Client


class StandIn(Protocol):
    """Lends clients that need no database. `tx` is the caller's transaction, if there is one."""

    def client(self, tx: Any) -> Client: ...
    def aclient(self, tx: Any) -> AsyncClient: ...
