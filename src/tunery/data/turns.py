"""The text of a training conversation and of every turn in it that is trained, or the reason why it cannot be had."""

import json
import re
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct

RenderingCode = Literal[
    "template_refuses",
    "content_lost",
    "history_rewritten",
    "turn_rewritten",
    "empty_thinking",
    "no_stop_token",
    "special_token",
    "tokens_differ",
]

_SPLIT_ROW = (
    'give this message "weight": 0, or give it a row of its own that ends with it, '
    "so that no later message makes the template rewrite it"
)
MENDS: dict[RenderingCode, str] = {
    "template_refuses": "change the order or the roles of the messages as the template's own words ask",
    "content_lost": "leave out what this model's chat template has no place for, or choose another base model",
    "history_rewritten": _SPLIT_ROW,
    "turn_rewritten": _SPLIT_ROW,
    "empty_thinking": "write the train of thought into the answer, or train with thinking off",
    "no_stop_token": 'give this message "weight": 0, or make it the last message of a row of its own',
    "special_token": "remove the token from the text, or put a blank into it",
    "tokens_differ": 'remove the white space at the beginning of this message, or give it "weight": 0',
}

_EMPTY_THINKING = re.compile(r"<think>\s*</think>")
_THINKING_CHARS_MAX = 64


class RenderingError(ValueError):
    """The model's chat template cannot take the conversation as it is."""

    def __init__(self, code: RenderingCode, *, reason: str, message_index: int | None = None) -> None:
        super().__init__(reason if message_index is None else f"message {message_index + 1} {reason}")
        self.code = code
        self.reason = reason
        self.message_index = message_index
        """0-based; None when it is not about one message."""

    @property
    def mend(self) -> str:
        """What the author of the conversation can do."""
        return MENDS[self.code]


class Turn(Struct, frozen=True):
    """An assistant message that is trained."""

    message_index: int
    prompt: str
    """What a request sends for everything before the turn."""
    ends_without_stop: bool
    """The template writes no stop token; only possible for the last message."""


class Draft(Struct, frozen=True):
    """A conversation before it is tokenised. `text` begins with every turn's prompt."""

    text: str
    turns: list[Turn]


class Render(Protocol):
    def __call__(self, n_messages: int, *, add_generation_prompt: bool) -> str:
        """The text of the first messages. Raises RenderingError."""


def conversation_draft(
    variables: dict[str, Any], *, trained: Sequence[int], render: Render, ends: re.Pattern[str]
) -> Draft:
    """Renders the whole conversation and every trained turn's beginning and end. Raises RenderingError.

    `ends` matches the texts of the stop tokens.
    """
    messages = variables["messages"]
    text = render(len(messages), add_generation_prompt=False)
    _require_kept(text, variables, trained=trained)
    turns = []
    for index in trained:
        try:
            prompt = render(index, add_generation_prompt=True)
            until = text if index + 1 == len(messages) else render(index + 1, add_generation_prompt=False)
        except RenderingError as error:
            raise RenderingError(error.code, reason=error.reason, message_index=index) from error
        if not (text.startswith(prompt) and until.startswith(prompt)):
            reason = "comes after other text in training than in a request: the chat template rewrites what precedes it"
            raise RenderingError("history_rewritten", message_index=index, reason=reason)
        turns.append(_turn(text, until, prompt=prompt, message=messages[index], index=index, ends=ends))
        if turns[-1].ends_without_stop and index + 1 < len(messages):
            reason = "is not ended by a stop token in this model's chat template"
            raise RenderingError("no_stop_token", message_index=index, reason=reason)
    return Draft(text, turns)


def _turn(text: str, until: str, *, prompt: str, message: dict[str, Any], index: int, ends: re.Pattern[str]) -> Turn:
    stop = ends.search(until, len(prompt))
    turn_text = until[len(prompt) : stop.end() if stop else len(until)]
    if not text.startswith(turn_text, len(prompt)):
        reason = "is written in another way by the chat template once later messages follow"
        raise RenderingError("turn_rewritten", message_index=index, reason=reason)
    said = turn_text[: stop.start() - len(prompt)] if stop else turn_text
    _require_said(said, message, index=index)
    _require_thought(until[: len(prompt) + len(turn_text)], message, prompt_chars=len(prompt), index=index)
    return Turn(index, prompt, ends_without_stop=stop is None)


def _require_said(said: str, message: dict[str, Any], *, index: int) -> None:
    """The turn's text holds the answer and the names of the functions that it calls."""
    parts = [(message["content"] or "").strip()]
    if "tool_calls" in message:
        parts += [call["function"]["name"] for call in message["tool_calls"]]
    if not all(map(said.__contains__, parts)):
        reason = "is not written out as it stands by the chat template"
        raise RenderingError("content_lost", message_index=index, reason=reason)


def _require_thought(text: str, message: dict[str, Any], *, prompt_chars: int, index: int) -> None:
    """A thinking template puts an empty train of thought before an answer that has none; that must not be learned."""
    for found in _EMPTY_THINKING.finditer(text, max(0, prompt_chars - _THINKING_CHARS_MAX)):
        if found.end() > prompt_chars and found.group() not in (message["content"] or ""):
            reason = "would be trained with an empty train of thought, which the chat template writes before it"
            raise RenderingError("empty_thinking", message_index=index, reason=reason)


def _require_kept(text: str, variables: dict[str, Any], *, trained: Sequence[int]) -> None:
    """Everything that the row tells the model is somewhere in its text, as it stands or as JSON."""
    for index, message in enumerate(variables["messages"]):
        if message["role"] == "assistant":
            continue
        said = message["content"].strip()
        if said not in text and json.dumps(said, ensure_ascii=False)[1:-1] not in text:
            reason = f"has the role {message['role']!r}, and the chat template leaves its content out or changes it"
            raise RenderingError("content_lost", message_index=index, reason=reason)
    for tool in variables["tools"] or ():
        if tool["function"]["name"] not in text:
            raise RenderingError("content_lost", reason="has tools, and the chat template leaves them out")
