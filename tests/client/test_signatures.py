"""The two faces are one: same names, same parameters, same words."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import pgjobs
from pgjobs.async_client import AsyncClient
from pgjobs.client import Client
from pgjobs.steering import Steering
from pgjobs.task import Bound


def methods(kind: type[Any]) -> dict[str, Any]:
    return {
        name: member
        for name, member in vars(kind).items()
        if inspect.isfunction(member) and (not name.startswith("_") or name == "__init__")
    }


def first_sentence(function: Any) -> str:
    return " ".join((inspect.getdoc(function) or "").split(". ")[0].split()).rstrip(".")


def parameters(function: Any) -> list[tuple[str, Any, Any, Any]]:
    signature = inspect.signature(function)
    return [(each.name, each.kind, each.default, each.annotation) for each in signature.parameters.values()]


def test_both_clients_have_the_same_verbs() -> None:
    assert list(methods(Client)) == list(methods(AsyncClient))


@pytest.mark.parametrize("name", [name for name in methods(Client) if name != "__init__"])
def test_a_verb_has_one_signature_and_one_description(name: str) -> None:
    blocking, in_loop = getattr(Client, name), getattr(AsyncClient, name)
    assert inspect.iscoroutinefunction(in_loop)
    assert not inspect.iscoroutinefunction(blocking)
    assert inspect.signature(blocking) == inspect.signature(in_loop)
    assert first_sentence(blocking)
    assert inspect.getdoc(blocking) == inspect.getdoc(in_loop)


def pairs() -> Iterator[tuple[str, Any, Any]]:
    for kind in (pgjobs.App, Steering, pgjobs.Task, Bound):
        for name, function in methods(kind).items():
            if f"a{name}" in methods(kind):
                yield f"{kind.__name__}.{name}", function, methods(kind)[f"a{name}"]


def test_every_verb_of_the_public_face_that_waits_for_the_database_has_its_twin() -> None:
    assert {name for name, _, _ in pairs()} == {
        "App.enqueue_many", "App.enqueue_spec", "App.job", "App.wait_for", "App.client", "App.close", "Task.enqueue", "Bound.enqueue",
        "Steering.client", *(f"Steering.{name}" for name in methods(Steering) if not name.startswith("a")),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "blocking", "in_loop"), list(pairs()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_twins_take_the_same_parameters(name: str, blocking: Any, in_loop: Any) -> None:
    assert parameters(blocking) == parameters(in_loop)
    assert first_sentence(in_loop)
    if name not in ("App.client", "App.close", "Steering.client"):
        returned = inspect.signature(blocking).return_annotation
        assert inspect.signature(in_loop).return_annotation == returned
