"""The packaged starter model's tokenizer and template keep the same promises as every other family's."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tunery.starter
from tunery.data.formats import ChatRow
from tunery.data.rendering import Renderer
from tunery.data.tokenizer import StreamDecoder, Tokenizer

CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SAID = st.text(st.characters(codec="utf-8"), max_size=30).map(lambda text: f"x{text}x")


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(Tokenizer(Path(tunery.starter.__file__).parent))


def turns(renderer: Renderer, messages: list[dict[str, Any]], **more: Any) -> list[str]:
    """Checks the tokens before every answer against a request's; gives the supervised texts."""
    example = renderer.example(msgspec.convert({"messages": messages, **more}, ChatRow))
    texts, start = [], 0
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = renderer.prompt(messages[:index], more.get("tools"))
        assert example.tokens[: len(prompt)].tolist() == prompt
        assert not example.weights[start : len(prompt)].any()
        start = len(prompt) + int(example.weights[len(prompt) :].argmin() or len(example.weights) - len(prompt))
        assert example.tokens[start - 1] in renderer.stop_tokens
        texts.append(renderer.tokenizer.decode(example.tokens[len(prompt) : start].tolist()))
    return texts


@given(said=st.lists(SAID, min_size=2, max_size=4), system=SAID)
def test_answers_are_supervised_whole_after_the_tokens_of_a_request(
    renderer: Renderer, said: list[str], system: str
) -> None:
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    for text in said:
        messages += [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]
    assert turns(renderer, messages) == said


@given(text=SAID)
def test_streamed_text_is_the_text(renderer: Renderer, text: str) -> None:
    stream = StreamDecoder(renderer.tokenizer)
    assert stream.extend(renderer.tokenizer.encode(text)) + stream.flush() == text


def test_tool_calls_are_supervised(renderer: Renderer) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Weather in Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "7 degrees"},
        {"role": "assistant", "content": "It is 7 degrees."},
    ]
    call, answer = turns(renderer, messages, tools=[TOOL])
    assert "get_weather" in call
    assert "Oslo" in call
    assert answer.strip() == "It is 7 degrees."


def test_no_message_can_end_its_own_turn(renderer: Renderer) -> None:
    harmless = renderer.prompt([{"role": "user", "content": "x"}])
    special = set(renderer.tokenizer.special_tokens.values())
    spelled = "".join(renderer.tokenizer.special_tokens)
    attacked = renderer.prompt([{"role": "user", "content": spelled}])
    assert [token for token in attacked if token in special] == [token for token in harmless if token in special]
