"""The forms of what is one of several: literals, enums, unions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, Flag
from typing import Any

from pgjobs.forms.form import ANY, Convert, Form, Mismatch, Types, WrongKind, made, must_be, shown, with_article


def literal_form(values: Iterable[Any]) -> Form:
    """Return the form of a Literal."""
    values = list(values)
    return _choice("one of " + ", ".join(map(repr, values)), values)


def enum_form(kind: type[Enum]) -> Form:
    """Return the form of an Enum: the value of a member if all are text or whole numbers, else its name."""
    noun = with_article(kind.__name__)
    if not issubclass(kind, Flag):
        return _choice(noun, list(kind))

    def dump(value: Any) -> Any:
        if type(value) is not kind:
            raise must_be(noun, value)
        return value.value

    def load(value: Any) -> Any:
        if type(value) is not int:
            raise must_be(noun, value)
        return made(kind, value)

    return Form(noun, {int}, dump, load)


def union_form(forms: list[Form]) -> Form:
    """Return the form of a union. What would be read back as another member of it is refused when it is dumped."""
    if ANY in forms:
        return ANY
    # Any text is a str and any int may be a float: these are asked last.
    forms = sorted(forms, key=lambda form: (str in form.loads_as_is, float in form.loads_as_is))
    noun = " or ".join(form.noun for form in forms)
    mistakable = {form for form in forms if any(form.reads & other.reads for other in forms if other is not form)}

    def read(value: Any) -> tuple[Form, Any]:
        errors = []
        for form in forms:
            try:
                return form, form.load(value)
            except Mismatch as error:
                errors.append(error)
        raise misfit(value, errors)

    def dump(value: Any) -> Any:
        errors = []
        for form in forms:
            try:
                text = form.dump(value)
            except Mismatch as error:
                errors.append(error)
                continue
            if form in mistakable:
                reader, back = read(text)
                if reader is not form and (type(back) is not type(value) or back != value):
                    raise Mismatch(f"is {form.noun} that would be read back as {reader.noun}: {shown(value)}")
            return text
        raise misfit(value, errors)

    def misfit(value: Any, errors: list[Mismatch]) -> Mismatch:
        # Who came furthest says most: a dataclass or None fails at a field of the dataclass.
        telling = [error for error in errors if error.path or not isinstance(error, WrongKind)]
        return max(telling, key=lambda error: len(error.path)) if telling else must_be(noun, value)

    def alone(types: Callable[[Form], Types]) -> Types:
        """Types that one member takes as they are, and no other reads as something else."""
        return frozenset(
            kind for form in forms for kind in types(form)
            if not any(kind in other.reads for other in forms if other is not form)
        )  # fmt: skip

    return Form(
        noun, {kind for form in forms for kind in form.reads}, dump, lambda value: read(value)[1],
        alone(lambda form: form.dumps_as_is), alone(lambda form: form.loads_as_is),
    )  # fmt: skip


def _choice(noun: str, values: list[Any]) -> Form:
    # By type as well: True is not 1.
    to_json = {(type(value), value): _in_json(value) for value in values}
    from_json = {(type(text), text): value for (_, value), text in to_json.items()}

    def choose(choices: Mapping[tuple[type, Any], Any]) -> Convert:
        def convert(value: Any) -> Any:
            try:
                return choices[type(value), value]
            except (KeyError, TypeError):
                raise must_be(noun, value) from None

        return convert

    return Form(noun, {kind for kind, _ in from_json}, choose(to_json), choose(from_json))


def _in_json(value: Any) -> Any:
    if not isinstance(value, Enum):
        return value
    return value.value if all(type(member.value) in (str, int) for member in type(value)) else value.name
