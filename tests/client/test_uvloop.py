"""The async client in uvloop: the same, on every async kind of connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import pgjobs
from tests.client.conftest import AsyncFace
from tests.client.kinds import KINDS, Kind
from tests.client.test_wait_for import Task
from tests.sql.by_hand import Connect, Worker

uvloop = pytest.importorskip("uvloop")


class UvloopFace(AsyncFace):
    """An event loop of uvloop's."""

    name = "uvloop"
    loop_factory = staticmethod(uvloop.new_event_loop)


@pytest.fixture
def face(dsn: str, app: pgjobs.App) -> Iterator[UvloopFace]:
    face = UvloopFace(dsn)
    yield face
    face.close_app(app)
    face.close()


@pytest.mark.parametrize(
    "kind_type", [kind for kind in KINDS if kind.face_kind is AsyncFace], ids=lambda kind: kind.__name__
)
def test_a_job_is_part_of_its_transaction(
    kind_type: type[Kind], face: UvloopFace, dsn: str, task: Task, count: Callable[[], int]
) -> None:
    kind = kind_type(face, dsn)
    with kind.stack:
        kind.open()
        kind.begin()
        kind.enqueue(task, letter_id=7)
        kind.rollback()
        kind.begin()
        kind.enqueue(task, letter_id=8)
        assert count() == 0
        kind.commit()
    assert count() == 1


def test_our_own_connections_and_waiting(face: UvloopFace, app: pgjobs.App, task: Task, connect: Connect) -> None:
    ids = face.enqueue_many(app, [task.spec(letter_id=number) for number in range(6_000)])
    worker = Worker(connect(), ["ocr"])
    job = worker.claim(1)[0]
    worker.complete(job, results=["1"])
    assert face.job(app, ids[0]).status is pgjobs.Status.COMPLETED
    assert face.do(app.await_for(job.id)) == 1
    with pytest.raises(pgjobs.WaitTimeout):
        face.do(app.await_for(ids[-1], 0.1))
