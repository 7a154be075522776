"""Why a line is not a training row, and everywhere it is not: the shapes of rows, and the rules that no shape can say.

The typed rows in formats.py hold the same rules in one compiled pass. This slower reading is for the lines that they
refuse. Rules on order and references are checked here for both.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tunery.data.formats import FUNCTION_NAME_PATTERN, Kind
from tunery.data.problems import Problem, pointer
from tunery.data.shapes import (
    Either,
    Flag,
    Mapped,
    Mismatch,
    Nothing,
    Nullable,
    OneOf,
    Record,
    Several,
    Steps,
    Tagged,
    Text,
    mismatches,
)

_NO_PARTS = {
    "image_url": (
        "image",
        "contains an image, and the models that can be tuned here read text only",
        "describe the image in words, or leave the row out",
    ),
    "input_audio": ("unsupported", "contains audio, which training rows cannot have", "leave the audio out"),
    "file": ("unsupported", "contains a file, which training rows cannot have", "write the file's text"),
}
_TEXT_PART = Record({"text": Text()}, ("text",))
_REFUSAL_PART = Record({"refusal": Text()}, ("refusal",))
_CONTENT = Either(Several(Tagged("type", {"text": _TEXT_PART}, _NO_PARTS), least=1))
_ANSWER = Either(Several(Tagged("type", {"text": _TEXT_PART, "refusal": _REFUSAL_PART}, _NO_PARTS), least=1))

_NAME = Text(FUNCTION_NAME_PATTERN, "name of letters, digits, _ and -, at most 64")
_CALL = Record({"name": _NAME, "arguments": Text()}, ("name", "arguments"))
_TOOL_CALL = Record({"id": Text(), "type": OneOf(("function",)), "function": _CALL}, ("id", "type", "function"))
_FUNCTION = Record({"name": _NAME, "description": Text(), "parameters": Mapped(), "strict": Flag()}, ("name",))
_TOOL = Record({"type": OneOf(("function",)), "function": _FUNCTION}, ("type", "function"))

_SAID = Record({"content": _CONTENT, "name": Text()}, ("content",))
_MESSAGE = Tagged(
    "role",
    {
        "system": _SAID,
        "developer": _SAID,
        "user": _SAID,
        "assistant": Record(
            {
                "content": _ANSWER,
                "refusal": Text(),
                "name": Text(),
                "audio": Nothing("contains audio, which training rows cannot have", "leave the audio out"),
                "tool_calls": Several(_TOOL_CALL, least=1),
                "function_call": _CALL,
                "weight": OneOf((0, 1)),
            }
        ),
        "tool": Record({"content": _CONTENT, "tool_call_id": Text(), "name": Text()}, ("content", "tool_call_id")),
        "function": Record({"content": Nullable(Text()), "name": Text()}, ("content", "name")),
    },
)
_SHAPES: dict[Kind, Record] = {
    "chat": Record(
        {
            "messages": Several(_MESSAGE, least=1),
            "tools": Several(_TOOL),
            "parallel_tool_calls": Flag(),
            "functions": Several(_FUNCTION, least=1, most=128),
        },
        ("messages",),
    ),
    "completion": Record({"prompt": Text(), "completion": Text()}, ("prompt", "completion")),
}
_ANSWER_KEYS = ("content", "refusal", "tool_calls", "function_call")


def shape_problems(row: Mapping[str, Any], *, line: int, kind: Kind) -> Iterator[Problem]:
    """Where a parsed row differs from the shape of a chat or completion row, in reading order."""
    return (_problem(line, mismatch) for mismatch in mismatches(row, _SHAPES[kind]))


def rule_problems(row: Mapping[str, Any], *, line: int) -> Iterator[Problem]:
    """What is wrong with the messages of a chat row beyond their shape; says nothing of messages without shape."""
    if "messages" not in row or not isinstance(row["messages"], list):
        return
    messages = [message if isinstance(message, dict) else {} for message in row["messages"]]
    for index, message in enumerate(messages):
        if message.get("role") == "assistant":
            yield from (_problem(line, mismatch) for mismatch in _answer_mismatches(message, ("messages", index)))
    for rule in (_order_mismatches, _reference_mismatches):
        yield from (_problem(line, mismatch) for mismatch in rule(messages))


def is_json_object(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False
    return True


def _answer_mismatches(message: Mapping[str, Any], steps: Steps) -> Iterator[Mismatch]:
    if all(message.get(key) is None for key in _ANSWER_KEYS):
        mend = "give the answer's text, or the tool calls that it makes instead"
        yield Mismatch(steps, "missing_key", "is missing key 'content'", mend)
    calls = message.get("tool_calls")
    for place, call in enumerate(calls if isinstance(calls, list) else ()):
        function = call.get("function") if isinstance(call, dict) else None
        yield from _argument_mismatches(function, (*steps, "tool_calls", place, "function"))
    yield from _argument_mismatches(message.get("function_call"), (*steps, "function_call"))


def _argument_mismatches(function: Any, steps: Steps) -> Iterator[Mismatch]:
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if isinstance(arguments, str) and not is_json_object(arguments):
        reason = "calls a function with arguments that are not a JSON object"
        mend = r'write the arguments as the text of a JSON object, such as "{\"city\": \"Paris\"}"'
        yield Mismatch((*steps, "arguments"), "tool_call_arguments", reason, mend)


def _order_mismatches(messages: list[dict[str, Any]]) -> Iterator[Mismatch]:
    roles = [message.get("role") for message in messages]
    answers = [message for message in messages if message.get("role") == "assistant"]
    if not answers and None not in roles and roles:
        reason = "must have at least one message from the assistant"
        yield Mismatch(("messages",), "no_assistant_message", reason, "end the conversation with the wanted answer")
    elif answers and roles[-1] not in ("assistant", None):
        reason = f"is the last one and must be from the assistant, not from '{roles[-1]}'"
        mend = "end the conversation with the wanted answer, or leave this message out"
        yield Mismatch(("messages", len(messages) - 1), "last_message_role", reason, mend)
    if answers and all(answer.get("weight") == 0 for answer in answers):
        reason = "has weight 0 on every message from the assistant, so nothing of it is trained"
        yield Mismatch(("messages",), "nothing_to_train", reason, "give one of them weight 1, or leave the row out")


def _reference_mismatches(messages: list[dict[str, Any]]) -> Iterator[Mismatch]:
    """A tool's result answers a call that was made before it."""
    called: set[str] = set()
    for index, message in enumerate(messages):
        calls = message.get("tool_calls")
        called |= (
            {str(call.get("id")) for call in calls if isinstance(call, dict)} if isinstance(calls, list) else set()
        )
        call_id = message.get("tool_call_id")
        if message.get("role") == "tool" and isinstance(call_id, str) and call_id not in called:
            reason = f"answers the tool call '{call_id}', which no earlier message makes"
            mend = "keep the assistant message that makes this call before it, with the same id"
            yield Mismatch(("messages", index, "tool_call_id"), "unknown_tool_call", reason, mend)


def _problem(line: int, mismatch: Mismatch) -> Problem:
    steps = mismatch.steps
    in_message = len(steps) > 1 and steps[0] == "messages" and isinstance(steps[1], int)
    # An extra or missing key is said of the example alone; the pointer says where.
    names_message = in_message and mismatch.code != "extra_key"
    example = f"Example {line}, message {int(steps[1]) + 1}" if names_message else f"Example {line}"
    return Problem(line, pointer(*steps), mismatch.code, f"{example} {mismatch.reason}", mismatch.mend)
