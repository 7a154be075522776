"""Messages on the wire become what chat templates expect: one form, whichever of OpenAI's older forms came in.

Parts are joined to one string, `functions` and `function_call` become tools and tool calls, a tool result is named
after its call, and a refusal is an answer like any other. Templates differ in how they want a tool call, so its form
is an argument that the renderer finds out by trying.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

WireMessage = Mapping[str, Any]
"""A message as in a request or, by msgspec.to_builtins, as in a training row."""


class CallForm(Struct, frozen=True):
    """How a template takes an assistant message that calls tools."""

    arguments_parsed: bool
    """Arguments as an object, not as JSON text."""
    content_none: bool
    """No content as None, not as an empty string."""


CALL_FORMS = (CallForm(True, True), CallForm(True, False), CallForm(False, True), CallForm(False, False))


def text_of(message: WireMessage) -> str:
    """The message's text: its string, or its text and refusal parts one after the other; empty when it has none."""
    content = message.get("content")
    if content is None:
        refusal = message.get("refusal")
        return refusal or ""
    if isinstance(content, str):
        return content
    return "".join(part[part["type"]] for part in content)


def template_messages(
    messages: Sequence[WireMessage], *, call_form: CallForm, knows_developer: bool
) -> list[dict[str, Any]]:
    """The messages as a template reads them: role, content and, where there are some, name and tool fields."""
    names: dict[str, str] = {}
    latest_call = ""
    converted = []
    for index, message in enumerate(messages):
        calls = _calls(message, index=index)
        for call in calls:
            latest_call = call["id"]
            names[latest_call] = call["function"]["name"]
        result = _plain(message, knows_developer=knows_developer)
        if calls:
            result |= _with_calls(result["content"], calls, form=call_form)
        if message["role"] == "function":
            result |= {"role": "tool", "tool_call_id": latest_call}
        elif "tool_call_id" in message:
            call_id = message["tool_call_id"]
            result |= {"tool_call_id": call_id} | ({"name": names[call_id]} if call_id in names else {})
        converted.append(result)
    return converted


def template_tools(
    tools: Sequence[Mapping[str, Any]] | None, functions: Sequence[Mapping[str, Any]] | None
) -> list[dict[str, Any]] | None:
    """Tools as a template reads them, the old `functions` wrapped into tools; None when there are none."""
    wrapped = [{"type": "function", "function": dict(function)} for function in functions or ()]
    return [dict(tool) for tool in tools or ()] + wrapped or None


def _plain(message: WireMessage, *, knows_developer: bool) -> dict[str, Any]:
    role = message["role"]
    if role == "developer" and not knows_developer:
        role = "system"
    named = {"name": message["name"]} if message.get("name") else {}
    return {"role": role, "content": text_of(message)} | named


def _calls(message: WireMessage, *, index: int) -> list[Mapping[str, Any]]:
    """The message's tool calls; an old `function_call` is given an id made from the message's place."""
    if message.get("tool_calls"):
        return list(message["tool_calls"])
    if message.get("function_call"):
        return [{"id": f"call_{index}", "type": "function", "function": message["function_call"]}]
    return []


def _with_calls(content: str, calls: Sequence[Mapping[str, Any]], *, form: CallForm) -> dict[str, Any]:
    converted = [
        {
            "id": call["id"],
            "type": "function",
            "function": {
                "name": call["function"]["name"],
                "arguments": _arguments(call["function"]["arguments"], parsed=form.arguments_parsed),
            },
        }
        for call in calls
    ]
    return {"content": None if form.content_none and not content else content, "tool_calls": converted}


def _arguments(text: str, *, parsed: bool) -> Any:
    """A model may have written arguments that are no JSON; in a history such text is passed on as it is."""
    if not parsed:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
