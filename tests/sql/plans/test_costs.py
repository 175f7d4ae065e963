"""What a job costs besides pages: round trips, and bytes of write-ahead log. Guards against creeping growth."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from pgjobs import calls
from pgjobs.calls import Settlement
from pgjobs.connections import PsycopgRunner, run
from pgjobs.job import Claimed, Spec
from pgjobs.worker.cursors import Cursors
from tests.conftest import Connection

PAYLOAD = '{"letter_id": 1234567, "text": "' + "x" * 167 + '"}'  # 200 bytes
RESULTS = ['{"words": 1234}'] * 500
OVERLAP = timedelta(seconds=0.2)


class Worker:
    """A worker on one session that enqueues, claims and settles in batches."""

    def __init__(self, db: Connection) -> None:
        self._runner = PsycopgRunner(db)
        self._cursors = Cursors(["default"])
        self._jobs: list[Claimed] = []
        self._id = run(self._runner, calls.register("costs", "here", 1, "0", ["default"], 9, timedelta(days=1)))

    def enqueue(self, count: int) -> None:
        if count == 1:
            run(self._runner, calls.enqueue(Spec("task", PAYLOAD)))
        else:
            run(self._runner, calls.enqueue_many([Spec("task", PAYLOAD)] * count))

    def settle_and_claim(self, count: int) -> None:
        """Settle what was claimed before, each with a result, and claim as many."""
        scan = self._cursors.scan(OVERLAP, None)
        step = run(self._runner, calls.settle_and_claim(self._id, self._settlement(), count, scan))
        self._cursors.advance(scan, step)
        self._jobs = step.claimed
        assert not step.fenced
        assert not step.locked
        assert len(self._jobs) == count

    def settle(self) -> None:
        run(self._runner, calls.settle(self._id, self._settlement()))
        self._jobs = []

    def resign(self) -> None:
        assert run(self._runner, calls.resign(self._id)) == 0

    def _settlement(self) -> Settlement:
        jobs = self._jobs
        return Settlement([job.id for job in jobs], [job.run for job in jobs], RESULTS[: len(jobs)])


def test_an_enqueue_and_a_settle_with_the_next_claim_are_one_round_trip_each(db: Connection, tmp_path: Path) -> None:
    worker = Worker(db)

    def round_trips(act: Callable[[], None]) -> int:
        with (tmp_path / "trace").open("w+") as trace:
            db.pgconn.trace(trace.fileno())
            act()
            db.pgconn.untrace()
            trace.seek(0)
            return sum("ReadyForQuery" in line for line in trace)

    # psycopg prepares what comes for the sixth time: a round trip more, once in a connection.
    costs = [round_trips(lambda: worker.enqueue(1)) for _ in range(9)]
    assert sorted(costs) == [1] * 8 + [2]
    assert round_trips(lambda: worker.enqueue(500)) == 1
    costs = [round_trips(lambda: worker.settle_and_claim(10)) for _ in range(9)]
    assert sorted(costs) == [1] * 8 + [2]
    worker.settle()
    worker.resign()


def test_an_enqueue_touches_few_pages_its_announcement_included(db: Connection) -> None:
    """Measured: 7, of an empty table and its two indexes."""
    with db.transaction():
        db.execute("set constraints all immediate")  # what is announced at commit is announced at once
        costs = []
        for _ in range(20):
            row = db.execute("explain (analyze, buffers, format json) select pgjobs.enqueue('t')").fetchone()
            assert row
            plan = row[0][0]["Plan"]
            costs.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    assert min(costs) <= 8


# Bytes of write-ahead log for a job with a payload of 200 bytes and a small result, enqueued, claimed and settled into the
# history. Measured on PostgreSQL 18.6 and 15.18 alike. In batches: 500 for the enqueue, 360 for the claim, which finds
# room on the row's page and logs what changed, 585 for the settle; one by one each has a commit record.
WAL_IN_BATCHES = 1_445
WAL_ONE_BY_ONE = 1_520


def test_a_job_writes_no_more_to_the_write_ahead_log_than_it_did(db: Connection) -> None:
    worker = Worker(db)

    by_session = db.info.server_version >= 180000  # others write in the same log
    sql = (
        "select wal_bytes::bigint from pg_stat_get_backend_wal(pg_backend_pid())"
        if by_session
        else "select (pg_current_wal_insert_lsn() - '0/0')::bigint"
    )

    def position() -> int:
        if by_session:
            db.execute("select pg_stat_force_next_flush()")  # with the end of this statement
        row = db.execute(sql.encode()).fetchone()
        assert row
        return int(row[0])

    def written(jobs: int, batch: int) -> float:
        before = position()
        for _ in range(jobs // batch):
            worker.enqueue(batch)
            worker.settle_and_claim(batch)
            worker.settle()
        return (position() - before) / jobs

    # The first change of a page after a checkpoint logs all of it. Hence the least.
    db.execute("checkpoint")
    written(2_000, 500)
    assert min(written(2_000, 500) for _ in range(3)) < 1.15 * WAL_IN_BATCHES
    assert min(written(100, 1) for _ in range(5)) < 1.15 * WAL_ONE_BY_ONE
    worker.resign()
