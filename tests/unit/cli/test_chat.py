import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.fakes.api import Answer, Answers, FakeApi, Received, connected, error
from tests.unit.cli.conftest import Ran

Call = Callable[..., tuple[Ran, FakeApi]]


def _echo(request: Received) -> Answer:
    """Answers with the last message in capitals, as a stream where one is asked for."""
    text = request.json["messages"][-1]["content"].upper()
    if not request.json.get("stream"):
        return Answer({"object": "chat.completion", "choices": [{"message": {"content": text}}]})
    chunks = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in (text[:2], text[2:])]
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]
    return Answer(content="".join(lines).encode())


@pytest.fixture
def call(tunery: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> Call:
    def run(*words: str, stdin: str = "", terminal: bool = False) -> tuple[Ran, FakeApi]:
        typed = io.StringIO(stdin)
        monkeypatch.setattr(typed, "isatty", lambda: terminal)
        monkeypatch.setattr("sys.stdin", typed)
        told: Answers = {("POST", "/chat/completions"): _echo, ("GET", "/models/m"): Answer({"id": "m"})}
        with connected(told) as (api, _):
            return tunery("chat", *words, "--base-url", api.url), api

    return run


def _sent(api: FakeApi) -> list[dict[str, Any]]:
    return [request.json for request in api.received if request.method == "POST"]


def test_prompt_streams_the_answer(call: Call) -> None:
    ran, api = call("m", "hello")
    assert ran == Ran(0, "HELLO\n", "")
    assert _sent(api) == [
        {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": True, "temperature": 0.0}
    ]


def test_options_travel(call: Call) -> None:
    _, api = call("m", "hello", "--system", "be brief", "--temperature", "1", "--max-tokens", "5", "--seed", "0")
    sent = _sent(api)[0]
    assert sent["messages"][0] == {"role": "system", "content": "be brief"}
    assert (sent["temperature"], sent["max_tokens"], sent["seed"]) == (1.0, 5, 0)


def test_json_is_the_whole_completion(call: Call) -> None:
    ran, api = call("m", "hello", "--json")
    assert json.loads(ran.out)["choices"][0]["message"]["content"] == "HELLO"
    assert "stream" not in _sent(api)[0]


@pytest.mark.parametrize("words", [("m",), ("m", "-")])
def test_prompt_from_standard_input(words: tuple[str, ...], call: Call) -> None:
    ran, api = call(*words, stdin="two\nlines\n")
    assert ran.out == "TWO\nLINES\n"
    assert _sent(api)[0]["messages"] == [{"role": "user", "content": "two\nlines"}]


@pytest.mark.parametrize(
    ("words", "stdin", "terminal", "said"),
    [
        (("m", "  "), "", False, "The prompt is empty"),
        (("m",), "", False, "The prompt is empty"),
        (("m", "--json"), "", True, "give a prompt with --json"),
        (("m", "hi", "--temperature", "3"), "", False, "--temperature"),
        ((), "", True, "MODEL"),
    ],
)
def test_wrong_use_sends_nothing(words: tuple[str, ...], stdin: str, terminal: bool, said: str, call: Call) -> None:
    ran, api = call(*words, stdin=stdin, terminal=terminal)
    assert ran.status == 2
    assert said in ran.err
    assert api.received == []


def test_conversation_remembers_what_was_said(call: Call) -> None:
    ran, api = call("m", "--system", "s", stdin="one\n\ntwo\n", terminal=True)
    assert ran.status == 0
    assert [line.removeprefix("> ") for line in ran.out.splitlines() if line not in ("", "> ")][:1] == ["ONE"]
    assert [message["content"] for message in _sent(api)[1]["messages"]] == ["s", "one", "ONE", "two"]


def test_conversation_with_unknown_model_ends_at_once(call: Call) -> None:
    ran, api = call("other", stdin="one\n", terminal=True)
    assert ran.status == 4
    assert _sent(api) == []


def test_conversation_goes_on_after_a_refusal(tunery: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    typed = io.StringIO("long\nshort\n")
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", typed)

    def picky(request: Received) -> Answer:
        if request.json["messages"][-1]["content"] == "long":
            return error(400, "too long", code="context_length_exceeded", param="messages")
        return _echo(request)

    answers: Any = {("POST", "/chat/completions"): picky, ("GET", "/models/m"): Answer({"id": "m"})}
    with connected(answers) as (api, _):
        ran = tunery("chat", "m", "--base-url", api.url)
    assert ran.status == 0
    assert "Error: too long" in ran.err
    assert "SHORT" in ran.out
    assert _sent(api)[1]["messages"] == [{"role": "user", "content": "short"}]


def test_refusal_exits_with_its_hint(tunery: Callable[..., Ran]) -> None:
    refusal = error(404, "The model 'x' does not exist", code="model_not_found", param="model")
    with connected({("POST", "/chat/completions"): refusal}) as (api, _):
        ran = tunery("chat", "x", "hi", "--base-url", api.url)
    assert ran == Ran(4, "", "Error: The model 'x' does not exist\n`tunery models list` shows the models.\n")
