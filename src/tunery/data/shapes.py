"""A small schema language that finds every mismatch in a JSON value; compiled decoders stop at the first.

Null counts as absent wherever a field is optional, as in formats.py.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

Steps = tuple[str | int, ...]
"""The way from the row to a value in it: keys and positions."""


class Mismatch(Struct, frozen=True):
    steps: Steps
    code: str
    reason: str
    mend: str


class Text(Struct, frozen=True):
    pattern: str = ""
    """A regular expression for the whole text; empty for any text."""
    expected: str = "string"


class Flag(Struct, frozen=True):
    """True or false."""


class OneOf(Struct, frozen=True):
    """One of a few values; a number is an integer."""

    values: tuple[str | int, ...]


class Mapped(Struct, frozen=True):
    """An object of which nothing is known, such as a JSON schema."""


class Nothing(Struct, frozen=True):
    """Only null is allowed; says what is refused."""

    reason: str
    mend: str


class Several(Struct, frozen=True):
    item: "Shape"
    least: int = 0
    most: int = 1_000_000


class Record(Struct, frozen=True):
    """An object with known keys. A required key may hold null only when its shape is a `Nullable`."""

    fields: Mapping[str, "Shape"]
    required: tuple[str, ...] = ()


class Nullable(Struct, frozen=True):
    shape: "Shape"


class Either(Struct, frozen=True):
    """A string, or a list of parts."""

    parts: Several


class Tagged(Struct, frozen=True):
    """An object whose other keys depend on one of them."""

    tag: str
    records: Mapping[str, Record]
    refused: Mapping[str, tuple[str, str, str]] = {}
    """Tags that exist elsewhere and are refused here: code, reason, mend."""


Shape = Text | Flag | OneOf | Mapped | Nothing | Several | Record | Nullable | Either | Tagged


def mismatches(value: Any, shape: Shape, steps: Steps = ()) -> Iterator[Mismatch]:
    """Everything in which the value differs from the shape, in reading order."""
    match shape:
        case Nullable():
            if value is not None:
                yield from mismatches(value, shape.shape, steps)
        case Either():
            yield from mismatches(value, shape.parts if isinstance(value, list) else Text(), steps)
        case Several():
            yield from _several(value, shape, steps)
        case Record():
            yield from _record(value, shape, steps)
        case Tagged():
            yield from _tagged(value, shape, steps)
        case _:
            yield from _single(value, shape, steps)


def _single(value: Any, shape: Shape, steps: Steps) -> Iterator[Mismatch]:
    match shape:
        case Text(pattern, expected) if not isinstance(value, str) or (pattern and not re.fullmatch(pattern, value)):
            yield _wrong_type(steps, expected)
        case Flag() if not isinstance(value, bool):
            yield _wrong_type(steps, "boolean")
        case Mapped() if not isinstance(value, dict):
            yield _wrong_type(steps, "dictionary")
        case OneOf(values) if isinstance(value, bool | float) or value not in values:
            choices = " or ".join(repr(choice) for choice in values)
            yield Mismatch(steps, "invalid_value", f"{steps[-1]} must be {choices}", f"write {choices}")
        case Nothing(reason, mend) if value is not None:
            yield Mismatch(steps, "unsupported", reason, mend)


def _several(value: Any, shape: Several, steps: Steps) -> Iterator[Mismatch]:
    if not isinstance(value, list):
        yield _wrong_type(steps, "list")
        return
    if not shape.least <= len(value) <= shape.most:
        bound = f"at least {shape.least}" if len(value) < shape.least else f"at most {shape.most}"
        reason = f"{steps[-1]} has {len(value)} item(s), but must have {bound}"
        yield Mismatch(steps, "invalid_length", reason, f"write {bound} item(s)")
    for index, item in enumerate(value):
        yield from mismatches(item, shape.item, (*steps, index))


def _record(value: Any, shape: Record, steps: Steps) -> Iterator[Mismatch]:
    if not isinstance(value, dict):
        yield _wrong_type(steps, "dictionary")
        return
    for key in shape.required:
        if key not in value:
            yield Mismatch(steps, "missing_key", f"is missing key '{key}'", f'add the key "{key}"')
    for key, item in value.items():
        if key not in shape.fields:
            yield Mismatch((*steps, key), "extra_key", f'contains an extra "{key}".', "leave the key out")
        elif item is not None or key in shape.required:
            yield from mismatches(item, shape.fields[key], (*steps, key))


def _tagged(value: Any, shape: Tagged, steps: Steps) -> Iterator[Mismatch]:
    if not isinstance(value, dict):
        yield _wrong_type(steps, "dictionary")
        return
    known = ", ".join(f"'{tag}'" for tag in shape.records)
    tag = value.get(shape.tag)
    if tag is None:
        reason = f"Discriminator '{shape.tag}' is missing in value"
        yield Mismatch(steps, f"missing_{shape.tag}", reason, f'add the key "{shape.tag}", one of {known}')
    elif not isinstance(tag, str) or tag not in shape.records:
        reason = f"Input tag '{tag}' found using '{shape.tag}' does not match any of the expected tags: {known}"
        usual = (f"unknown_{shape.tag}", reason, f"use one of {known}")
        code, reason, mend = shape.refused[tag] if isinstance(tag, str) and tag in shape.refused else usual
        yield Mismatch((*steps, shape.tag), code, reason, mend)
    else:
        record = shape.records[tag]
        yield from _record(value, Record({**record.fields, shape.tag: Text()}, record.required), steps)


def _wrong_type(steps: Steps, expected: str) -> Mismatch:
    place = f"{steps[-1]} " if steps and isinstance(steps[-1], str) else ""
    article = "an" if expected[0] in "aeiou" else "a"
    return Mismatch(steps, "wrong_type", f"{place}must be {article} {expected}", f"write {article} {expected}")
