"""The arguments of a task: which names its function takes, and how their values travel as JSON and come back."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pgjobs.context import JobContext
from pgjobs.errors import ConfigurationError, InvalidPayload
from pgjobs.forms import ANY, Form, Mismatch, form_of, optional, read_annotations
from pgjobs.forms.form import NONE, Convert, Types, same


class Arguments:
    """Read once from a task's function, so that neither enqueue nor run has to inspect it.

    Raises ConfigurationError for a function that a job cannot call.
    """

    def __init__(self, function: Callable[..., Any], task: str) -> None:
        self._task = task
        self.context: str | None = None  # the parameter that receives the JobContext
        self._takes_any = False
        self._positions: list[str] = []
        forms: dict[str, Form] = {}
        rest = ANY  # of **keywords
        known, required = set(), set()
        for parameter in _parameters(function, task):
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise ConfigurationError(
                    f"The task {task} cannot take {parameter}: a job carries its arguments by name."
                )
            if parameter.kind is parameter.VAR_KEYWORD:
                self._takes_any = True
                rest = ANY if _is_context(parameter.annotation) else _form(parameter, task)
            elif _is_context(parameter.annotation):
                if self.context is not None:
                    raise ConfigurationError(f"The task {task} has two parameters for the JobContext.")
                self.context = parameter.name
            else:
                known.add(parameter.name)
                if parameter.default is parameter.empty:
                    required.add(parameter.name)
                if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                    self._positions.append(parameter.name)
                forms[parameter.name] = _form(parameter, task)
        self._known = frozenset(known)
        self._required = frozenset(required)
        dumps = {name: (form.dumps_as_is, form.dump) for name, form in forms.items() if form is not ANY}
        loads = {name: (form.loads_as_is, form.load) for name, form in forms.items() if form is not ANY}
        keywords = rest is not ANY
        self._dump = _converter(task, self._known, dumps, (rest.dumps_as_is, rest.dump) if keywords else None)
        # What most calls and payloads are: all of the arguments and no other, each of a type that is taken as it is (None: of any).
        self._dumps_as_is = {name: None if form is ANY else form.dumps_as_is for name, form in forms.items()}
        self._loads_as_is = {name: None if form is ANY else form.loads_as_is for name, form in forms.items()}
        self._load = _converter(task, self._known, loads, (rest.loads_as_is, rest.load) if keywords else None)

    def dump(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
        """Return the arguments of a call by name, as JSON has them. Raises InvalidPayload when they do not fit."""
        if args:
            if len(args) > len(self._positions):
                raise InvalidPayload(
                    f"{self._task} takes {len(self._positions)} by position, but {len(args)} were given."
                )
            for name, value in zip(self._positions, args, strict=False):
                if name in kwargs:
                    raise InvalidPayload(f"{self._task} got the argument {name!r} twice.")
                kwargs[name] = value
        if _is_as_is(kwargs, self._dumps_as_is):
            return kwargs
        self.check_names(kwargs)
        return self._dump(kwargs)

    def load(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the arguments in a payload as the function takes them. Raises InvalidPayload when they do not fit."""
        if _is_as_is(values, self._loads_as_is):
            return values
        self.check_names(values)
        return self._load(values)

    def take_only(self, name: str) -> bool:
        """Whether the function can be called with this argument and no other."""
        return (self._takes_any or name in self._known) and self._required <= {name}

    def check_names(self, names: Mapping[str, Any]) -> None:
        """Raise InvalidPayload when these are not the names the function takes."""
        if names.keys() == self._known:
            return  # most have all of them and nothing else
        if self.context in names:
            raise InvalidPayload(f"The argument {self.context!r} of {self._task} is filled in by the worker.")
        if not self._takes_any and (unknown := names.keys() - self._known):
            takes = ", ".join(sorted(self._known)) or "none"
            raise InvalidPayload(f"{self._task} has no {_arguments(unknown)}; it takes {takes}.")
        if missing := self._required - names.keys():
            raise InvalidPayload(f"{self._task} needs the {_arguments(missing)}.")


def _is_as_is(values: Mapping[str, Any], types_of: Mapping[str, Types | None]) -> bool:
    """Whether these are all of the arguments and no other, each of a type that is taken as it is."""
    if len(values) != len(types_of):
        return False
    for name, value in values.items():
        types = types_of.get(name, NONE)
        if types is not None and type(value) not in types:
            return False
    return True


def _converter(
    task: str, known: frozenset[str], conversions: dict[str, tuple[Types, Convert]], rest: tuple[Types, Convert] | None
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return a function that converts each argument by its name, except for those of the exact types that need it not."""

    def convert(values: Mapping[str, Any]) -> Mapping[str, Any]:
        changed: dict[str, Any] | None = None
        for name, value in values.items():
            conversion = conversions.get(name)
            if conversion is None:
                if rest is None or name in known:
                    continue
                conversion = rest
            if type(value) in conversion[0]:
                continue
            try:
                converted = conversion[1](value)
            except Mismatch as error:
                raise InvalidPayload(f"{task}: the argument {name + error.path!r} {error.what}.") from error.__cause__
            except RecursionError:
                raise InvalidPayload(f"{task}: the argument {name!r} is nested too deeply.") from None
            if changed is None:
                changed = dict(values)
            changed[name] = converted
        return values if changed is None else changed

    return convert if conversions or rest else same


def _form(parameter: inspect.Parameter, task: str) -> Form:
    try:
        form = form_of(parameter.annotation)
    except Exception as error:
        raise ConfigurationError(
            f"The annotation of {parameter.name!r} of the task {task} cannot be understood: {error}."
        ) from error
    # `page: int = None` says what everybody understands.
    return optional(form) if parameter.default is None else form


def _parameters(function: Callable[..., Any], task: str) -> list[inspect.Parameter]:
    """Return the parameters of a function, with their annotations read where they can be."""
    try:
        parameters = inspect.signature(function).parameters
    except Exception as error:
        raise ConfigurationError(f"The parameters of the task {task} cannot be read: {error}.") from None
    written: Any = function
    while isinstance(written := inspect.unwrap(written), functools.partial):
        written = written.func
    module = getattr(written, "__globals__", {})
    read = read_annotations({name: parameter.annotation for name, parameter in parameters.items()}, module, {})
    return [parameter.replace(annotation=read[name]) for name, parameter in parameters.items()]


def _is_context(annotation: Any) -> bool:
    annotation = getattr(annotation, "__forward_arg__", annotation)
    if isinstance(annotation, str):  # it could not be read
        return re.fullmatch(r"(\w+\.|Optional\[)*JobContext(\s*\|\s*None|])?", annotation) is not None
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return any(map(_is_context, get_args(annotation)))
    return annotation is JobContext


def _arguments(names: Iterable[str]) -> str:
    listed = sorted(map(repr, names))
    return f"argument{'s' if len(listed) > 1 else ''} {', '.join(listed)}"
