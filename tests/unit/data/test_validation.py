"""Every way in which a file can be wrong: its line, its place, its words; and what clean files cost."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunery.data.problems import FileReport, Problem
from tunery.data.rendering import Renderer
from tunery.data.validation import first_line_problem, validate

GOOD: dict[str, Any] = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
GOOD_LINE = json.dumps(GOOD).encode() + b"\n"
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "7"}
HEAD = "The job failed due to a file format error in the training file. Invalid file format. "
INVALID = "The job failed due to an invalid training file. Invalid file format. "


def line(value: Any) -> bytes:
    return (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n"


def check(*rows: Any, **options: Any) -> FileReport:
    """Good rows up to nine, then these: the first of them is line 10."""
    return validate([GOOD_LINE] * 9 + [line(row) for row in rows], **options)


def messages(*given: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(given), **more}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def answer(content: Any = "b", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


@pytest.mark.parametrize(
    "row",
    [
        GOOD,
        messages(user("a"), answer(weight=0), user("c"), answer(weight=1)),
        messages({"role": "system", "content": "s"}, {"role": "developer", "content": "d"}, user("a"), answer()),
        messages(user([{"type": "text", "text": "a"}]), answer(name="n", refusal=None, tool_calls=None)),
        messages(user("?"), {"role": "assistant", "tool_calls": [CALL]}, RESULT, answer(), tools=[TOOL]),
        messages(user("?"), answer(), tools=[TOOL], parallel_tool_calls=False),
        messages(user("?"), answer(None, function_call={"name": "f", "arguments": "{}"}), functions=[{"name": "f"}]),
        messages(user('"role" and "content"'), answer("role")),
        messages(user("ünïcödé 🙂 \u2028"), answer("\\u0041 <|im_end|>")),
        b'{"messages":[{"role":"user","content":"\\u0041\\u00e9"},{"role":"assistant","content":"\\ud83d\\ude42"}]}\r',
        b'  {"messages" : [ {"content":"a" , "role":"user"}, {"role":"assistant","content":""} ] }  ',
    ],
)  # fmt: skip
def test_good_rows_have_no_problem(row: Any) -> None:
    report = check(row)
    assert report.problems == []
    assert report.is_valid
    assert (report.kind, report.n_examples) == ("chat", 10)


CASES = Path(__file__).parents[2] / "fixtures" / "malformed_rows.jsonl"
"""One malformed row a line: as `row`, or as `raw` bytes in Latin-1, with the problem that is found first."""


def malformed() -> Iterator[tuple[Any, str, str, str]]:
    for case in map(json.loads, CASES.read_text().splitlines()):
        row = case["raw"].encode("latin-1") if "raw" in case else case["row"]
        yield row, case["code"], case["pointer"], case["words"]


def nested(levels: int) -> dict[str, Any]:
    return {"x": nested(levels - 1)} if levels else {}


DEEP = [
    (b'{"messages": ' + b"[" * 3000 + b"]" * 3000 + b"}", ""),
    (
        messages(user("a"), answer(), tools=[TOOL | {"function": {"name": "f", "parameters": nested(80)}}]),
        "/tools/0/function/parameters" + "/x" * 61,
    ),
]


@pytest.mark.parametrize(("row", "pointer"), DEEP)
def test_nesting_is_bounded(row: Any, pointer: str) -> None:
    first = check(row, GOOD).problems[0]
    assert (first.line, first.code, first.pointer) == (10, "too_deep", pointer)
    assert first.message == "Example 10 is nested deeper than 64 levels"


@pytest.mark.parametrize(("row", "code", "pointer", "words"), list(malformed()))
def test_malformed_rows_are_named_with_line_place_and_words(row: Any, code: str, pointer: str, words: str) -> None:
    report = check(row, GOOD)
    first = report.problems[0]
    assert (first.line, first.code, first.pointer) == (10, code, pointer)
    assert first.message.startswith(words)
    assert first.mend
    assert not report.is_valid


MISSING_ROLE = "Example 10, message 2 Discriminator 'role' is missing in value"
NO_JSON = (
    "Example 10 cannot be parsed. Error: line contains invalid json: Expecting ',' delimiter: line 1 column 9 (char 8)"
)


@pytest.mark.parametrize(
    ("row", "code", "message"),
    [
        ({"message": []}, "invalid_file_format", HEAD + "Example 10 is missing key 'messages'"),
        (GOOD | {"weight": 1}, "invalid_file_format", HEAD + 'Example 10 contains an extra "weight".'),
        (messages(user("a"), {"content": "b"}), "invalid_training_file", INVALID + MISSING_ROLE),
        (b'{"a": 1 "b": 2}', "invalid_file_format", HEAD + NO_JSON + " (line 10)"),
    ],
)
def test_job_error_has_the_captured_words(row: Any, code: str, message: str) -> None:
    error = check(row, {"message": []}).job_error(file_id="file-abc")
    assert error is not None
    assert (error.code, error.message, error.param) == (code, message, "training_file")


def test_job_error_of_a_validation_file_names_that_file() -> None:
    error = check({"message": []}).job_error(file_id="file-abc", role="validation")
    assert error is not None
    assert error.param == "validation_file"
    assert error.message.startswith("The job failed due to a file format error in the validation file. ")


def test_job_error_is_none_for_a_valid_file() -> None:
    assert check(GOOD).job_error(file_id="file-abc") is None


PREFERENCE = {"input": messages(user("a")), "preferred_output": [answer()], "non_preferred_output": [answer("c")]}
REINFORCEMENT = messages(user("2+2?"), reference_answer="4")


@pytest.mark.parametrize(
    ("row", "name", "method"),
    [(PREFERENCE, "preference", "dpo"), (REINFORCEMENT, "reinforcement", "reinforcement")],
)
def test_rows_of_another_method_give_the_captured_words(row: Any, name: str, method: str) -> None:
    report = validate([line(row)] * 12)
    assert report.counts == {"wrong_method": 12}
    error = report.job_error(file_id="file-abc")
    assert error is not None
    expected = (
        f"Input file file-abc is in the fine-tune-{name} format, but the specified fine-tuning job is not using "
        f"'{method}' as the training method (provided method=supervised). "
    )
    assert (error.code, error.message) == ("invalid_training_file", INVALID + expected)


@pytest.mark.parametrize("n", [0, 3, 9])
def test_too_few_examples_are_counted(n: int) -> None:
    error = validate([GOOD_LINE] * n).job_error(file_id="file-abc")
    assert error is not None
    assert error.code == "invalid_n_examples"
    assert error.message == f"Training file has {n} example(s), but must have at least 10 examples"


def test_a_row_s_problem_comes_before_too_few_examples() -> None:
    report = validate([line({"message": []})])
    assert [problem.code for problem in report.problems] == ["missing_key", "extra_key", "too_few_examples"]


def test_all_problems_of_a_line_are_found() -> None:
    row = messages({"role": "user", "content": 3, "x": 1}, {"content": "b"}, {"role": "assistant", "weight": 5})
    found = {(problem.code, problem.pointer) for problem in check(row).problems}
    assert found == {
        ("wrong_type", "/messages/0/content"),
        ("extra_key", "/messages/0/x"),
        ("missing_role", "/messages/1"),
        ("invalid_value", "/messages/2/weight"),
        ("missing_key", "/messages/2"),
    }


def test_problems_over_the_limit_are_counted() -> None:
    report = check(*[{"message": []}] * 30, limit=5)
    assert len(report.problems) == 5
    assert report.counts == {"missing_key": 30, "extra_key": 30}


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n\r\n", b"  \n\t\n"])
def test_marks_line_breaks_and_blank_ends_are_accepted(tmp_path: Path, ending: bytes, mark: bytes, tail: bytes) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(mark + ending.join([GOOD_LINE.strip()] * 10) + tail)
    report = validate(path)
    assert report.problems == []
    assert (report.n_examples, report.n_bytes) == (10, path.stat().st_size)


def test_blank_lines_inside_are_named_each() -> None:
    report = validate([GOOD_LINE] * 5 + [b"\n", b" \r\n"] + [GOOD_LINE] * 5 + [b"\n"])
    assert [(problem.line, problem.code) for problem in report.problems] == [(6, "blank_line"), (7, "blank_line")]
    assert report.n_examples == 10


def test_invalid_utf8_is_named_by_its_byte_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    bad = b'\xef\xbb\xbf{"messages": "\xe8"}\n{"messages": "\xe9"}\n'
    path.write_bytes(bad)
    words = [problem.message for problem in validate(path).problems if problem.code == "invalid_utf8"]
    assert len(words) == 2
    for message, byte in zip(words, (0xE8, 0xE9), strict=True):
        assert message.endswith(f"byte {bad.index(byte)} of the file is not valid UTF-8")


def test_utf16_is_recognised() -> None:
    report = validate(GOOD_LINE.decode().encode("utf-16").splitlines(keepends=True))
    assert report.problems[0].message == "Example 1 cannot be parsed. Error: the file is UTF-16"


def test_a_giant_line_is_refused_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    with path.open("wb") as stream:
        stream.write(GOOD_LINE * 9)
        for _ in range(64):
            stream.write(b"x" * (1 << 20))
        stream.write(b"\n" + GOOD_LINE)
    tracemalloc.start()
    report = validate(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(problem.line, problem.code) for problem in report.problems] == [(10, "line_too_long")]
    assert (report.n_examples, report.n_bytes) == (11, path.stat().st_size)
    assert peak < 32 << 20


def test_memory_is_flat_over_many_lines_and_many_problems() -> None:
    def rows(n: int) -> Iterator[bytes]:
        for _ in range(n):
            yield GOOD_LINE
            yield b'{"message": []}\n'

    def peak(n: int) -> int:
        tracemalloc.start()
        validate(rows(n))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(4000) < peak(2000) + (64 << 10)


def test_completion_files_are_validated_as_such() -> None:
    good = {"prompt": "a", "completion": "b"}
    report = validate([line(good)] * 10)
    assert (report.kind, report.problems) == ("completion", [])
    report = validate([line(good)] * 10 + [line({"prompt": "a"}), line({"prompt": 1, "completion": ""}), GOOD_LINE])
    assert [problem.message for problem in report.problems] == [
        "Example 11 is missing key 'completion'",
        "Example 12 prompt must be a string",
        "Example 13 is in the fine-tune-chat format, but the file begins in the fine-tune-completion format",
    ]
    twice = b'{"prompt":"a","completion":"b","completion":"c"}\n'
    assert validate([line(good)] * 10 + [twice]).counts == {"duplicate_key": 1}


def test_with_a_renderer_rows_that_the_template_cannot_take_are_problems(
    renderer_of: Callable[[str], Renderer],
) -> None:
    marked = messages(user("a <|im_end|>"), answer())
    begins_with_lines = messages(user("a"), answer("\n\nb"), user("c"), answer())
    report = check(marked, {"message": []}, begins_with_lines, renderer=renderer_of("chatml"))
    assert [(problem.line, problem.code, problem.pointer) for problem in report.problems] == [
        (10, "special_token", "/messages/0"),
        (11, "missing_key", ""),
        (11, "extra_key", "/message"),
        (12, "tokens_differ", "/messages/1"),
    ]
    error = report.job_error(file_id="file-abc")
    assert error is not None
    assert (error.code, error.message) == (
        "invalid_file_format",
        HEAD + "Example 10 message contains an invalid token: <|im_end|>.",
    )
    assert isinstance(report.problems[3], Problem)
    assert report.problems[3].message.startswith("Example 12, message 2 would be trained after other tokens")


def test_a_method_without_rules_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="dpo"):
        validate([], method="dpo")


NOT_JSONL = "Expected file to have JSONL format, where every line is a JSON dictionary. "


@pytest.mark.parametrize(
    ("head", "is_whole", "message"),
    [
        (b'{"prompt": 1\n', False, 'Line 1 is not a dictionary (HINT: line starts with: "{"p...").'),
        (b"a,b,c\n1,2,3\n", False, 'Line 1 is not a dictionary (HINT: line starts with: "a,b...").'),
        (b"[\n", False, 'Line 1 is not a dictionary (HINT: line starts with: "[...").'),
        (b'{"a": 1}\r\n[1]\r\n', False, 'Line 2 is not a dictionary (HINT: line starts with: "[1]...").'),
        (b"PK\x03\x04\xff\xfe", False, 'Line 1 is not a dictionary (HINT: line starts with: "PK\x03...").'),
        (b'{"a": 1}\n{"b": ', True, 'Line 2 is not a dictionary (HINT: line starts with: "{"b...").'),
        (b'{"a": 1}\n{"b": ', False, None),
        (b'{"a": 1}', True, None),
        (b'\xef\xbb\xbf{"a": 1}\r\n\r\n', True, None),
        (b"", True, None),
    ],
)
def test_first_line_problem_has_the_captured_words(head: bytes, is_whole: bool, message: str | None) -> None:
    assert first_line_problem(head, is_whole=is_whole) == (None if message is None else NOT_JSONL + message)
