"""Chat completions through the official client in strict mode; the fake engine answers with the prompt's own tokens."""

import time
from typing import Any

import httpx
import orjson
import pytest
from openai import OpenAI

from tests.fakes.host import SLOW_SEED, SLOW_TOKEN_SECONDS

MESSAGES: Any = [{"role": "user", "content": "Say 3"}]
PROMPT_TOKENS = len("Say 3") + 3
"""One token a byte, and one each for the role, the end and the assistant's turn."""


def stream_text(client: OpenAI, **parameters: Any) -> list[Any]:
    return list(client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True, **parameters))


def test_completion_counts_its_tokens(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES)
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (PROMPT_TOKENS, PROMPT_TOKENS)
    assert answer.usage.total_tokens == 2 * PROMPT_TOKENS
    assert abs(answer.created - time.time()) < 60


def test_system_prompts_parts_and_developer_messages_are_rendered(client: OpenAI) -> None:
    messages: Any = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
        {"role": "assistant", "content": "C"},
        {"role": "user", "content": "D"},
    ]
    answer = client.chat.completions.create(model="tiny", messages=messages)
    assert answer.choices[0].message.content == "SABCD"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_length_limit_cuts_the_answer(client: OpenAI, name: str) -> None:
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, **{name: 3})  # type: ignore[call-overload]
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content == "Sa"
    assert answer.usage.completion_tokens == 3


def test_several_choices_are_numbered(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.message.content for choice in answer.choices} == {"Say 3"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3 * PROMPT_TOKENS


@pytest.mark.parametrize(
    ("stop", "expected"), [("y", "Sa"), (["3", " 3"], "Say"), (["nowhere"], "Say 3"), ([], "Say 3")]
)
def test_stop_string_ends_the_answer_and_is_not_part_of_it(client: OpenAI, stop: Any, expected: str) -> None:
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, stop=stop)
    assert answer.choices[0].message.content == expected
    assert answer.choices[0].finish_reason == "stop"
    streamed = stream_text(client, stop=stop, seed=SLOW_SEED)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == expected
    assert streamed[-1].choices[0].finish_reason == "stop"


def test_log_probabilities_stand_beside_every_token(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny", messages=MESSAGES, logprobs=True, top_logprobs=2)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    texts = [entry.token for entry in logprobs.content]
    assert "Say 3" in "".join(texts)
    entry = logprobs.content[texts.index("S")]
    assert (entry.logprob, entry.bytes, len(entry.top_logprobs)) == (-0.5, [ord("S")], 2)
    assert [each.logprob for each in entry.top_logprobs] == [-0.5, -1.5]
    plain = client.chat.completions.create(model="tiny", messages=MESSAGES)
    assert plain.choices[0].logprobs is None


def test_stream_is_a_role_then_text_then_a_reason(client: OpenAI) -> None:
    chunks = stream_text(client, seed=SLOW_SEED)
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" and len(chunk.choices) == 1 for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Say 3"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_stream_ends_with_usage_where_it_is_asked_for(client: OpenAI) -> None:
    chunks = stream_text(client, stream_options={"include_usage": True})
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == PROMPT_TOKENS
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_stream_of_several_choices_and_their_log_probabilities(client: OpenAI) -> None:
    chunks = stream_text(client, n=2, logprobs=True, top_logprobs=1)
    for index in (0, 1):
        mine = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        assert "".join(choice.delta.content or "" for choice in mine) == "Say 3"
        entries = [entry for choice in mine if choice.logprobs for entry in choice.logprobs.content or []]
        assert {entry.logprob for entry in entries} == {-0.5}
        assert mine[-1].finish_reason == "stop"


def test_stream_arrives_while_it_is_made(client: OpenAI) -> None:
    """The first text must not wait for the last."""
    arrived = []
    for chunk in client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True, seed=SLOW_SEED):
        if chunk.choices[0].delta.content:
            arrived.append(time.monotonic())
    assert arrived[-1] - arrived[0] > 2 * SLOW_TOKEN_SECONDS


def test_stream_frames_are_server_sent_events_with_an_end_mark(http: httpx.Client) -> None:
    body = {"model": "tiny", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
    answer = http.post("/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "x-request-id" in answer.headers
    frames = answer.text.split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    chunks = [orjson.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]
    wanted = ["id", "object", "created", "model", "service_tier", "system_fingerprint", "choices", "usage"]
    assert {tuple(chunk) for chunk in chunks} == {tuple(wanted)}
    assert list(chunks[0]["choices"][0]) == ["index", "delta", "logprobs", "finish_reason"]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}


def test_refused_stream_is_an_http_error_and_no_stream(http: httpx.Client) -> None:
    long = [{"role": "user", "content": "x" * 600}]
    answer = http.post("/chat/completions", json={"model": "tiny", "messages": long, "stream": True})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_broken_off_streams_free_the_engine(client: OpenAI) -> None:
    """The fake engine sleeps for every slow request in every step: five forgotten ones make an answer 6x slower."""
    long: Any = [{"role": "user", "content": "x" * 400}]
    for _ in range(5):
        with client.chat.completions.create(model="tiny", messages=long, stream=True, seed=SLOW_SEED) as stream:
            next(iter(stream))
    time.sleep(0.5)
    began = time.monotonic()
    client.chat.completions.create(model="tiny", messages=MESSAGES, seed=SLOW_SEED, max_tokens=6)
    assert time.monotonic() - began < 4 * 6 * SLOW_TOKEN_SECONDS
