"""Short ways to write conversations in tests, and to read from an example what of them is supervised."""

from typing import Any

import msgspec
import numpy as np

from tunery.data.formats import ChatRow
from tunery.data.rendering import Example, Renderer


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


def chat(*messages: dict[str, Any], **more: Any) -> ChatRow:
    return msgspec.convert({"messages": messages, **more}, ChatRow)


def supervised(renderer: Renderer, example: Example) -> list[str]:
    """The text of every supervised run of tokens."""
    starts = np.flatnonzero(np.diff(example.weights, prepend=0) > 0)
    ends = np.flatnonzero(np.diff(example.weights, append=0) < 0) + 1
    # Two answers never touch: a question lies between them.
    return [renderer.tokenizer.decode_all(example.tokens[a:b].tolist()) for a, b in zip(starts, ends, strict=True)]


def prompts(renderer: Renderer, example: Example, messages: list[dict[str, Any]], **more: Any) -> list[bool]:
    """For every supervised turn: do the tokens before it equal what a request sends?"""
    starts = np.flatnonzero(np.diff(example.weights, prepend=0) > 0)
    trained = [i for i, message in enumerate(messages) if message["role"] == "assistant" and message.get("weight") != 0]
    sent = [renderer.prompt(messages[:index], **more) for index in trained]
    return [example.tokens[:start].tolist() == tokens for start, tokens in zip(starts, sent, strict=True)]
