"""Completions and responses through the official client; the fake engine echoes the prompt's tokens."""

import pytest
from openai import BadRequestError, NotFoundError, OpenAI


def test_completion_continues_the_prompt(client: OpenAI) -> None:
    answer = client.completions.create(model="tiny", prompt="abc", logprobs=1, max_tokens=3)
    assert answer.choices[0].text == "abc"
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.tokens == ["a", "b", "c"]
    assert answer.choices[0].logprobs.text_offset == [0, 1, 2]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 6


def test_completion_of_several_prompts_numbers_the_choices(client: OpenAI) -> None:
    answer = client.completions.create(model="tiny", prompt=["ab", "cd"], n=2, max_tokens=2)
    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, "ab"), (1, "ab"), (2, "cd"), (3, "cd")]


def test_completion_echoes_on_demand(client: OpenAI) -> None:
    assert client.completions.create(model="tiny", prompt="ab", max_tokens=2, echo=True).choices[0].text == "abab"


def test_completion_takes_tokens(client: OpenAI) -> None:
    text = client.completions.create(model="tiny", prompt=[65, 66], max_tokens=2).choices[0].text
    assert len(text) == 2
    with pytest.raises(BadRequestError, match="99999"):
        client.completions.create(model="tiny", prompt=[99999])


def test_response_answers_with_one_message(client: OpenAI) -> None:
    answer = client.responses.create(model="tiny", input="Hello", instructions="Be kind.", metadata={"a": "b"})
    assert answer.output_text == "Be kind.Hello"
    assert (answer.status, answer.object, answer.metadata) == ("completed", "response", {"a": "b"})
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_response_takes_items(client: OpenAI) -> None:
    parts = [{"type": "input_text", "text": "one "}, {"type": "input_text", "text": "two"}]
    answer = client.responses.create(model="tiny", input=[{"role": "user", "content": parts}])  # type: ignore[typeddict-item, list-item, misc]
    assert answer.output_text == "one two"


def test_response_stream_has_the_documented_events_in_order(client: OpenAI) -> None:
    events = list(client.responses.create(model="tiny", input="Hello", stream=True))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(9))


def test_response_with_tools_is_refused_by_name(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="tools"):
        client.responses.create(model="tiny", input="Hello", tools=[{"type": "web_search"}])


def test_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        client.completions.create(model="nothing", prompt="a")
    with pytest.raises(NotFoundError, match="does not exist"):
        client.responses.create(model="nothing", input="a")
