import json
from typing import Any

import pytest

from tests.fakes.api import Answer, connected
from tunery.client import ApiFailure, CutShort

ASKED: list[Any] = [{"role": "user", "content": "Hi"}]


def _stream(*events: Any, done: bool = True) -> Answer:
    lines = [f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events]
    return Answer(content="".join([": a comment\n\n", *lines, "data: [DONE]\n\n" if done else ""]).encode())


def _chunk(**delta: str) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def test_stream_text_joins_pieces() -> None:
    answer = _stream(_chunk(role="assistant", content=""), _chunk(content="Grüß "), _chunk(content="Gott"), _chunk())
    with connected({("POST", "/chat/completions"): answer}) as (api, client):
        assert list(client.chat.stream_text("m", ASKED, temperature=0)) == ["Grüß ", "Gott"]
    sent = api.received[0].json
    assert sent == {"model": "m", "messages": ASKED, "stream": True, "temperature": 0}


def test_stream_text_skips_usage_chunk_without_choices() -> None:
    answer = _stream(_chunk(content="a"), {"choices": [], "usage": {"total_tokens": 3}})
    with connected({("POST", "/chat/completions"): answer}) as (_, client):
        assert list(client.chat.stream_text("m", ASKED)) == ["a"]


def test_stream_error_event_is_raised_after_the_text_before_it() -> None:
    failure = {"error": {"message": "engine gone", "code": "engine", "param": None, "type": "server_error"}}
    answer = _stream(_chunk(content="half"), failure, done=False)
    with connected({("POST", "/chat/completions"): answer}) as (_, client):
        pieces = client.chat.stream_text("m", ASKED)
        assert next(pieces) == "half"
        with pytest.raises(ApiFailure, match="engine gone"):
            next(pieces)


def test_stream_without_end_mark_is_cut_short() -> None:
    answer = _stream(_chunk(content="half"), done=False)
    with connected({("POST", "/chat/completions"): answer}) as (_, client), pytest.raises(CutShort):
        list(client.chat.stream_text("m", ASKED))


def test_create_returns_the_completion() -> None:
    completion = {"id": "chatcmpl-1", "choices": []}
    with connected({("POST", "/chat/completions"): Answer(completion)}) as (api, client):
        assert client.chat.create("m", ASKED, max_tokens=5) == completion
    assert api.received[0].json == {"model": "m", "messages": ASKED, "max_tokens": 5}
