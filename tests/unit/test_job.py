"""The nouns as values."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest

from pgjobs import JobId, Priority, Spec, Status


def test_a_job_id_is_an_int_that_knows_whether_the_job_was_created() -> None:
    id = JobId(42)
    assert isinstance(id, int)
    assert id == 42
    assert id.created
    assert not JobId(42, created=False).created
    jobs: dict[int, str] = {id: "job"}
    assert jobs[42] == "job"
    assert (str(id), f"{id:05}", json.dumps(id)) == ("42", "00042", "42")


@pytest.mark.parametrize("created", [True, False])
def test_a_job_id_survives_copies_and_pickles(created: bool) -> None:
    id = JobId(42, created)
    for twin in (copy.copy(id), copy.deepcopy(id), pickle.loads(pickle.dumps(id))):
        assert twin == id
        assert isinstance(twin, JobId)
        assert twin.created is created


def test_lower_priorities_go_first() -> None:
    assert sorted(Priority) == [Priority.CRITICAL, Priority.HIGH, Priority.NORMAL, Priority.LOW, Priority.BULK]
    assert [int(priority) for priority in sorted(Priority)] == [-2, -1, 0, 1, 2]


def test_a_status_is_the_text_that_is_in_the_database() -> None:
    assert Status("dead") is Status.DEAD
    assert str(Status.READY) == "ready"


def test_values_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Spec("read_letter").queue = "other"  # type: ignore[misc]
