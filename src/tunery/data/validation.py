"""A file to its problems: all of them, each with line, place and mend, in one pass with flat memory.

A clean line costs one compiled decode and a few counts of bytes. A line that does not decode, or in which a key may
be written twice, is read again strictly.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from tunery.data.formats import (
    FORMAT_NAMES,
    METHOD_OF_KIND,
    AssistantMessage,
    ChatRow,
    CompletionRow,
    Kind,
    Row,
    kind_of,
)
from tunery.data.jsonlines import (
    BYTE_ORDER_MARK,
    DEPTH_MAX,
    LINE_BYTES_MAX,
    Line,
    excerpt,
    is_deeper,
    parse_strictly,
    read_lines,
    repeats_a_key,
)
from tunery.data.problems import EXAMPLES_MIN, FileReport, Problem, rendering_problem
from tunery.data.rendering import Renderer
from tunery.data.rows import rule_problems, shape_problems
from tunery.data.turns import RenderingError

PROBLEMS_MAX = 1000
_RENDERED_BYTES = 1 << 18
"""Rows are rendered in groups of about so many bytes."""
_HAVE_MESSAGES = frozenset({"chat", "reinforcement"})
"""A row of the one kind that looks like the other is a broken row, not a row of another format."""
_RARE_KEY = re.compile(
    rb'"(?:weight|name|refusal|audio|tool_calls|function_call|tool_call_id|tools|functions|parallel_tool_calls)"'
)
_ESCAPED_ASCII = re.compile(rb"\\u00[2-7]")


def validate(
    source: Path | Iterable[bytes],
    *,
    method: str = "supervised",
    renderer: Renderer | None = None,
    limit: int = PROBLEMS_MAX,
    examples_min: int = EXAMPLES_MIN,
) -> FileReport:
    """Reads a training file (or its lines) once. The first `limit` problems are kept in full, the others counted.

    With a renderer every clean row is also rendered and tokenised, so that a row which the model's chat template
    cannot take is a problem too; tokenising the file finds the same, so a caller that does both needs no renderer here.
    Raises ValueError for a method whose rows have no rules here.
    """
    if method != "supervised":
        raise ValueError(f"there are no rules for rows of the method {method!r}")
    reading = _Reading(method=method, renderer=renderer, limit=limit)
    for line in read_lines(source):
        reading.add(line)
    return reading.finish(examples_min=examples_min)


def first_line_problem(head: bytes, *, is_whole: bool = False) -> str | None:
    """What an upload is refused with, judged by its first bytes: the first line that is not a JSON object, or None.

    A line that the bytes end in the middle of is judged by its first character, unless `is_whole` says that nothing
    follows. An empty upload has no line to be wrong; its job fails for want of examples.
    """
    lines = head.removeprefix(BYTE_ORDER_MARK).split(b"\n")
    for number, data in enumerate(lines, 1):
        unfinished = number == len(lines) and not is_whole
        if not data.strip() or (unfinished and data.lstrip().startswith(b"{")):
            continue
        if not _is_object(data):
            start = excerpt(data.decode("utf-8", errors="replace").rstrip("\r"))
            return (
                "Expected file to have JSONL format, where every line is a JSON dictionary. "
                f"Line {number} is not a dictionary (HINT: line starts with: {start})."
            )
    return None


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(data), dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


class _Reading:
    """One pass over one file."""

    def __init__(self, *, method: str, renderer: Renderer | None, limit: int) -> None:
        self._method = method
        self._renderer = renderer
        self._limit = limit
        self._report = FileReport()
        self._blank_lines: list[int] = []
        self._n_blank = 0
        self._unrendered: list[tuple[int, Row]] = []
        self._unrendered_bytes = 0
        self._decode_chat = msgspec.json.Decoder(ChatRow).decode
        self._decode_completion = msgspec.json.Decoder(CompletionRow).decode

    def add(self, line: Line) -> None:
        report = self._report
        report.n_bytes = line.offset + line.length
        row = None if line.data is None else self._clean_row(line.data)
        if row is None and line.data is not None and not line.data.strip():
            self._add_blank(line.number)
            return
        if self._n_blank:
            self._note_blank()
        report.n_examples += 1
        if row is not None:
            self._render_later(row, line)
        elif line.data is None:
            message = f"Example {line.number} is longer than {LINE_BYTES_MAX} bytes"
            self._note(Problem(line.number, "", "line_too_long", message, "shorten the example, or leave it out"))
        else:
            self._add_suspicious(line)

    def finish(self, *, examples_min: int) -> FileReport:
        report = self._report
        self._render_pending()
        if report.n_examples < examples_min:
            message = f"file has {report.n_examples} example(s), but must have at least {examples_min} examples"
            mend = f"add {examples_min - report.n_examples} example(s)"
            self._note(Problem(None, "", "too_few_examples", message, mend))
        return report

    def _clean_row(self, data: bytes) -> Row | None:
        """The row of a line without any problem; None for one that has to be read again."""
        try:
            if self._report.kind == "completion":
                completion = self._decode_completion(data)
                return completion if _has_each_key_once(data) else None
            row = self._decode_chat(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if self._report.kind not in (None, "chat") or not (_is_plain(row, data) or _is_sound(row, data)):
            return None
        self._report.kind = "chat"
        return row

    def _add_suspicious(self, line: Line) -> None:
        parsed = parse_strictly(line)
        problems = list(parsed.problems)
        if parsed.value is not None:
            problems += self._row_problems(parsed.value, line=line.number)
        if problems:
            self._note(*problems)
            return
        assert line.data is not None
        decode = self._decode_completion if self._report.kind == "completion" else self._decode_chat
        try:
            row = decode(line.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"Example {line.number} {error}"
            self._note(Problem(line.number, "", "invalid_row", message, "write the row as the reference describes it"))
        else:
            self._render_later(row, line)

    def _row_problems(self, value: dict[str, Any], *, line: int) -> Iterable[Problem]:
        kind = kind_of(value)
        if self._report.kind is None:
            self._report.kind = kind
        of_file: Kind = self._report.kind or "chat"
        if kind is not None and not {kind, of_file} <= _HAVE_MESSAGES and kind != of_file:
            return [_mixed(kind, of_file, line=line)]
        if METHOD_OF_KIND[of_file] != self._method:
            return [_wrong_method(of_file, line=line, method=self._method)]
        if of_file == "completion":
            return shape_problems(value, line=line, kind="completion")
        return [*shape_problems(value, line=line, kind="chat"), *rule_problems(value, line=line)]

    def _add_blank(self, number: int) -> None:
        """Blank lines at the end are nothing; whether they are at the end shows when another line comes."""
        self._n_blank += 1
        if len(self._blank_lines) < self._limit:
            self._blank_lines.append(number)

    def _note_blank(self) -> None:
        mend = "leave the line out; only the end of a file may have blank lines"
        self._note(*(Problem(at, "", "blank_line", f"Example {at} is a blank line", mend) for at in self._blank_lines))
        self._report.counts["blank_line"] += self._n_blank - len(self._blank_lines)
        self._blank_lines, self._n_blank = [], 0

    def _render_later(self, row: Row, line: Line) -> None:
        if self._renderer is None:
            return
        self._unrendered.append((line.number, row))
        self._unrendered_bytes += line.length
        if self._unrendered_bytes >= _RENDERED_BYTES:
            self._render_pending()

    def _render_pending(self) -> None:
        if self._renderer is None or not self._unrendered:
            return
        pending, self._unrendered, self._unrendered_bytes = self._unrendered, [], 0
        examples = self._renderer.examples([row for _, row in pending])
        for (number, _), example in zip(pending, examples, strict=True):
            if isinstance(example, RenderingError):
                self._note(rendering_problem(example, line=number))

    def _note(self, *problems: Problem) -> None:
        self._render_pending()
        for problem in problems:
            self._report.counts[problem.code] += 1
            if len(self._report.problems) < self._limit:
                self._report.problems.append(problem)


def _is_plain(row: ChatRow, data: bytes) -> bool:
    """A row of plain messages in which no key can be written twice and no rule be broken, judged in microseconds.

    Quotation marks inside a JSON string are escaped, so `"role"` in the bytes is a key or a whole string value: as
    many as there are messages means one in each. Keys spelled with escapes are left to the slower reading.
    """
    messages = row.messages
    count = len(messages)
    return (
        type(messages[-1]) is AssistantMessage
        and all(type(message.content) is str for message in messages)
        and data.count(b'"role"') == count
        and data.count(b'"content"') == count
        and data.count(b'"messages"') == 1
        and _RARE_KEY.search(data) is None
        and not _escapes_ascii(data)
    )


def _is_sound(row: ChatRow, data: bytes) -> bool:
    """The same judgement for rows with tools, weights, names or parts, in tens of microseconds."""
    tools = [tool.function for tool in row.tools or ()] + list(row.functions or ())
    # Two objects and an array lie around the parameters of a tool, one more object inside `functions`' new form.
    deep = any(is_deeper(tool.parameters, levels=DEPTH_MAX - 4) for tool in tools)
    return not deep and not repeats_a_key(data) and not any(rule_problems(msgspec.to_builtins(row), line=0))


def _has_each_key_once(data: bytes) -> bool:
    return data.count(b'"prompt"') == 1 and data.count(b'"completion"') == 1 and not _escapes_ascii(data)


def _escapes_ascii(data: bytes) -> bool:
    """Whether printable ASCII is written as an escape, which hides keys from a search in the bytes."""
    return b"\\u00" in data and _ESCAPED_ASCII.search(data) is not None


def _mixed(kind: Kind, of_file: Kind, *, line: int) -> Problem:
    begun = FORMAT_NAMES[of_file]
    message = f"Example {line} is in the {FORMAT_NAMES[kind]} format, but the file begins in the {begun} format"
    return Problem(line, "", "mixed_formats", message, "put rows of different formats into files of their own")


def _wrong_method(kind: Kind, *, line: int, method: str) -> Problem:
    needed = METHOD_OF_KIND[kind]
    message = (
        f"Example {line} is in the {FORMAT_NAMES[kind]} format, which is for the method '{needed}', not '{method}'"
    )
    return Problem(line, "", "wrong_method", message, f"create the job with the method '{needed}', or convert the file")
