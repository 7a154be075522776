"""JSONL as it arrives from users: byte-order marks, CRLF, broken UTF-8, giant lines, repeated keys, depth bombs.

Lines are read one at a time and never held together. The strict parser is the slow one of the standard library,
because no fast one sees a key that occurs twice; it is for lines that the fast path did not take.
"""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from tunery.data.problems import Problem, pointer

LINE_BYTES_MAX = 8 * 1024 * 1024
DEPTH_MAX = 64
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_EXCERPT_CHARS = 3
_READ_BYTES = 1 << 20


class Line(Struct, frozen=True):
    number: int
    """1-based."""
    offset: int
    """Of its first byte in the file."""
    data: bytes | None
    """Without the byte-order mark, with its line break; None for a line over LINE_BYTES_MAX."""
    length: int
    """In bytes, with everything that is not in `data`."""


class Parsed(Struct, frozen=True):
    value: Any
    """The line's JSON value; None when it could not be parsed."""
    problems: list[Problem]


class _Object(dict[str, Any]):
    """An object that remembers which of its keys were written more than once."""

    repeated: tuple[str, ...] = ()


def read_lines(source: Path | Iterable[bytes]) -> Iterator[Line]:
    """The lines of a file, or of lines that are given one by one. Memory stays within one line."""
    if isinstance(source, Path):
        with source.open("rb", buffering=_READ_BYTES) as stream:
            yield from _lines_of(stream)
        return
    offset = 0
    for number, given in enumerate(source, 1):
        yield _line(number, offset, given if len(given) <= LINE_BYTES_MAX else None, len(given))
        offset += len(given)


def _lines_of(stream: BinaryIO) -> Iterator[Line]:
    number = offset = 0
    while data := stream.readline(LINE_BYTES_MAX + 1):
        number += 1
        length = len(data)
        if length <= LINE_BYTES_MAX:
            yield _line(number, offset, data, length)
        else:
            while not data.endswith(b"\n") and (data := stream.readline(LINE_BYTES_MAX)):
                length += len(data)
            yield _line(number, offset, None, length)
        offset += length


def _line(number: int, offset: int, data: bytes | None, length: int) -> Line:
    if number == 1 and data is not None and data.startswith(BYTE_ORDER_MARK):
        return Line(number, offset + len(BYTE_ORDER_MARK), data[len(BYTE_ORDER_MARK) :], length)
    return Line(number, offset, data, length)


class _KeyRepeated(Exception):
    pass


def _require_distinct(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise _KeyRepeated


_distinct_decoder = json.JSONDecoder(object_pairs_hook=_require_distinct)


def repeats_a_key(data: bytes) -> bool:
    """Whether any object in a line of valid JSON has the same key twice."""
    try:
        _distinct_decoder.decode(data.decode())
    except _KeyRepeated:
        return True
    return False


def is_deeper(value: Any, *, levels: int) -> bool:
    """Whether a JSON value is nested deeper than so many levels; a string or number has none."""
    pending = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, dict | list):
            if depth >= levels:
                return True
            pending += [(entry, depth + 1) for entry in (item.values() if isinstance(item, dict) else item)]
    return False


def parse_strictly(line: Line) -> Parsed:
    """The line's value with all that is wrong with its JSON. The line is not blank and not over its limit."""
    assert line.data is not None
    number = line.number
    try:
        text = line.data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        return Parsed(None, [_not_utf8(line, error)])
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        return Parsed(None, [_too_deep(number, "")])
    except ValueError as error:
        message = f"Example {number} cannot be parsed. Error: line contains invalid json: {error} (line {number})"
        return Parsed(None, [Problem(number, "", "invalid_json", message, _json_mend(text))])
    problems = list(_problems_in(value, number))
    if not isinstance(value, dict):
        message = f"Example {number} is not a dictionary (HINT: line starts with: {excerpt(text)})."
        mend = "write one JSON object on each line of the file"
        problems.insert(0, Problem(number, "", "not_a_dictionary", message, mend))
        return Parsed(None, problems)
    return Parsed(value, problems)


def excerpt(line: str) -> str:
    """The first characters of a line, as error texts show them."""
    return f'"{line[:_EXCERPT_CHARS]}..."'


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    result = _Object(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        result.repeated = tuple(key for key in result if keys.count(key) > 1)
    return result


def _problems_in(value: Any, line: int) -> Iterator[Problem]:
    """Walks the value without recursion, in the order in which it is written."""
    pending: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while pending:
        steps, item = pending.pop()
        if len(steps) > DEPTH_MAX:
            yield _too_deep(line, pointer(*steps))
            return
        if isinstance(item, _Object):
            yield from (_repeated(line, pointer(*steps, key), key) for key in item.repeated)
            yield from (_surrogate(line, pointer(*steps)) for key in item if _has_surrogate(key))
            pending += [((*steps, key), entry) for key, entry in reversed(item.items())]
        elif isinstance(item, list):
            pending += [((*steps, index), entry) for index, entry in reversed(list(enumerate(item)))]
        elif isinstance(item, str) and _has_surrogate(item):
            yield _surrogate(line, pointer(*steps))
        elif isinstance(item, float) and not math.isfinite(item):
            yield _not_finite(line, pointer(*steps))


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _not_utf8(line: Line, error: UnicodeDecodeError) -> Problem:
    if line.number == 1 and line.data is not None and line.data.startswith(_UTF16_MARKS):
        message = "Example 1 cannot be parsed. Error: the file is UTF-16"
        return Problem(1, "", "invalid_utf8", message, "save the file as UTF-8")
    byte = line.offset + error.start
    message = f"Example {line.number} cannot be parsed. Error: byte {byte} of the file is not valid UTF-8"
    return Problem(line.number, "", "invalid_utf8", message, "save the file as UTF-8")


def _json_mend(text: str) -> str:
    if text.startswith(("[", "{")) and text.rstrip() in ("[", "{"):
        return (
            "the file looks like one JSON value over many lines: write each example on one line, without a list around"
        )
    return "correct the JSON of this line; a program that writes it with a JSON library makes no such mistake"


def _too_deep(line: int, where: str) -> Problem:
    message = f"Example {line} is nested deeper than {DEPTH_MAX} levels"
    return Problem(line, where, "too_deep", message, "flatten the value; training rows need few levels")


def _repeated(line: int, where: str, key: str) -> Problem:
    message = f'Example {line} contains the key "{key}" twice'
    return Problem(line, where, "duplicate_key", message, "keep one of the two: readers of JSON silently drop one")


def _surrogate(line: int, where: str) -> Problem:
    message = f"Example {line} contains half a surrogate pair, which is no character"
    return Problem(line, where, "lone_surrogate", message, "write the whole character, or leave the half out")


def _not_finite(line: int, where: str) -> Problem:
    message = f"Example {line} contains a number that JSON does not have (NaN, Infinity or too large)"
    return Problem(line, where, "non_finite_number", message, "write a finite number, null or a string")
