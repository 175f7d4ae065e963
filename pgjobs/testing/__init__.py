"""What the tests of an application need: throwaway databases, a clock that moves, jobs run on the spot or in memory.

The pytest plugin that comes along has the same as fixtures; see docs/how-to/testing.md.
"""

from pgjobs.testing.clock import Clock, MemoryClock
from pgjobs.testing.database import Databases, on_database
from pgjobs.testing.draining import adrain, drain
from pgjobs.testing.enqueued import (
    aassert_enqueued,
    aenqueued,
    arefute_enqueued,
    assert_enqueued,
    enqueued,
    refute_enqueued,
)
from pgjobs.testing.failures import Failure, JobsFailed
from pgjobs.testing.memory import InMemory
from pgjobs.testing.rows import NotSupported
from pgjobs.testing.stand_in import Inline, in_memory, inline
from pgjobs.testing.troubles import Trouble, break_connections, failing, lose_worker, losing_replies

__all__ = [
    "Clock",
    "Databases",
    "Failure",
    "InMemory",
    "Inline",
    "JobsFailed",
    "MemoryClock",
    "NotSupported",
    "Trouble",
    "aassert_enqueued",
    "adrain",
    "aenqueued",
    "arefute_enqueued",
    "assert_enqueued",
    "break_connections",
    "drain",
    "enqueued",
    "failing",
    "in_memory",
    "inline",
    "lose_worker",
    "losing_replies",
    "on_database",
    "refute_enqueued",
]
