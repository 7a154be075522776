"""Every wire form of a conversation reaches templates in one form."""

from typing import Any

import pytest

from tunery.data.conversations import CALL_FORMS, CallForm, template_messages, template_tools, text_of

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"b": 1, "a": "é"}'}}


def convert(*messages: dict[str, Any], form: CallForm = CALL_FORMS[0], knows_developer: bool = False) -> list[Any]:
    return template_messages(messages, call_form=form, knows_developer=knows_developer)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "a"}, "a"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": None}, ""),
        ({}, ""),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No."),
        ({"content": None, "refusal": "No."}, "No."),
    ],
)
def test_text_of_every_form_of_content(message: dict[str, Any], text: str) -> None:
    assert text_of(message) == text


def test_developer_is_system_unless_the_template_knows_it() -> None:
    message = {"role": "developer", "content": "Be brief."}
    assert convert(message) == [{"role": "system", "content": "Be brief."}]
    assert convert(message, knows_developer=True) == [message]


def test_weight_and_nulls_do_not_reach_the_template() -> None:
    message = {"role": "assistant", "content": "a", "weight": 0, "tool_calls": None, "name": None}
    assert convert(message) == [{"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("form", "content", "arguments"),
    [
        (CallForm(True, True), None, {"b": 1, "a": "é"}),
        (CallForm(False, False), "", '{"b": 1, "a": "é"}'),
    ],
)
def test_tool_calls_take_the_form_the_template_wants(form: CallForm, content: str | None, arguments: object) -> None:
    [message] = convert({"role": "assistant", "tool_calls": [CALL]}, form=form)
    assert message["content"] == content
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": arguments}


def test_arguments_that_are_no_json_are_passed_on_as_text() -> None:
    broken = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": '}}
    [message] = convert({"role": "assistant", "tool_calls": [broken]})
    assert message["tool_calls"][0]["function"]["arguments"] == '{"a": '


def test_tool_results_get_the_name_of_their_call() -> None:
    messages = convert(
        {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_1", "content": "7"}
    )
    assert messages[1] == {"role": "tool", "content": "7", "tool_call_id": "call_1", "name": "f"}


def test_function_calls_become_tool_calls() -> None:
    old = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "7"},
    ]
    _, call, result = convert(*old)
    assert call["tool_calls"] == [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": {}}}]
    assert result == {"role": "tool", "content": "7", "name": "f", "tool_call_id": "call_1"}


def test_functions_become_tools() -> None:
    function = {"name": "f", "parameters": {}}
    tool = {"type": "function", "function": {"name": "g"}}
    assert template_tools([tool], [function]) == [tool, {"type": "function", "function": function}]
    assert template_tools([], None) is None
