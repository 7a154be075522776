"""One typed example per kind of training file: what a clean line decodes to in a single pass of compiled code.

The field names and rules are those of the published row schemas (openai/openai-openapi, FineTuneChatRequestInput).
A null where the schema has an optional field counts as absent, because client libraries write such nulls.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Kind = Literal["chat", "completion", "preference", "reinforcement"]

FORMAT_NAMES: dict[Kind, str] = {
    "chat": "fine-tune-chat",
    "completion": "fine-tune-completion",
    "preference": "fine-tune-preference",
    "reinforcement": "fine-tune-reinforcement",
}
"""How job errors call the format of a file."""

METHOD_OF_KIND: dict[Kind, str] = {
    "chat": "supervised",
    "completion": "supervised",
    "preference": "dpo",
    "reinforcement": "reinforcement",
}

FUNCTION_NAME_PATTERN = r"^[a-zA-Z0-9_-]{1,64}$"
FunctionName = Annotated[str, Meta(pattern=FUNCTION_NAME_PATTERN)]


class Strict(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A key that the schema does not know is an error, never ignored."""


class TextPart(Strict):
    type: Literal["text"]
    text: str


class AnswerPart(Strict, tag_field="type", tag="text"):
    text: str


class RefusalPart(Strict, tag_field="type", tag="refusal"):
    refusal: str


Text = str | Annotated[list[TextPart], Meta(min_length=1)]
AnswerText = str | Annotated[list[AnswerPart | RefusalPart], Meta(min_length=1)]


class FunctionCall(Strict):
    name: FunctionName
    arguments: str
    """A JSON object as text."""


class ToolCall(Strict):
    id: str
    type: Literal["function"]
    function: FunctionCall


class Function(Strict):
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """A JSON schema."""
    strict: bool | None = None


class Tool(Strict):
    type: Literal["function"]
    function: Function


class SystemMessage(Strict, tag_field="role", tag="system"):
    content: Text
    name: str | None = None


class DeveloperMessage(Strict, tag_field="role", tag="developer"):
    content: Text
    name: str | None = None


class UserMessage(Strict, tag_field="role", tag="user"):
    content: Text
    name: str | None = None


class AssistantMessage(Strict, tag_field="role", tag="assistant"):
    content: AnswerText | None = None
    refusal: str | None = None
    name: str | None = None
    audio: None = None
    tool_calls: Annotated[list[ToolCall], Meta(min_length=1)] | None = None
    function_call: FunctionCall | None = None
    """The old form of a single tool call."""
    weight: Literal[0, 1] | None = None
    """0 keeps the turn out of the loss."""


class ToolMessage(Strict, tag_field="role", tag="tool"):
    content: Text
    tool_call_id: str
    name: str | None = None


class FunctionMessage(Strict, tag_field="role", tag="function"):
    content: str | None
    name: str


Message = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage


class ChatRow(Strict):
    messages: Annotated[list[Message], Meta(min_length=1)]
    tools: list[Tool] | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[Function], Meta(min_length=1, max_length=128)] | None = None
    """The old form of tools."""


class CompletionRow(Strict):
    prompt: str
    completion: str


Row = ChatRow | CompletionRow


def kind_of(row: dict[str, Any]) -> Kind | None:
    """Which kind of row the keys of a parsed line announce; None when they announce none.

    A preference row may spell its outputs `preferred_completion`, as one branch of the published schema does.
    """
    if "messages" in row:
        extra = row.keys() - {"messages", "tools", "parallel_tool_calls", "functions"}
        return "reinforcement" if extra and not _ends_with_answer(row["messages"]) else "chat"
    if row.keys() & {"preferred_output", "non_preferred_output", "preferred_completion", "non_preferred_completion"}:
        return "preference"
    if "prompt" in row and "completion" in row:
        return "completion"
    return None


def _ends_with_answer(messages: Any) -> bool:
    last = messages[-1] if isinstance(messages, list) and messages else None
    return not isinstance(last, dict) or last.get("role") == "assistant"
