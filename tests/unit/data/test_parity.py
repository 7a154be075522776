"""Without special tokens in its text a prompt has the tokens that transformers' own `apply_chat_template` gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from tunery.data.rendering import DEFAULT_TEMPLATE, Renderer

CONVERSATIONS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "user", "content": " blanks  and\n\nlines \n"}],
    [
        {"role": "user", "content": "Hi 🙂"},
        {"role": "assistant", "content": "Grüße!"},
        {"role": "user", "content": '{"a": "\\n"}'},
    ],
]
TOOL = {"type": "function", "function": {"name": "f", "description": "<é>", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "family",
    ["chatml", "llama3", "gemma", "mistral", "mistral_first", "mistral_legacy", "qwen3", "phi", "gpt2", "harmony"],
)
def test_prompt_has_the_tokens_of_transformers(
    folder_of: Callable[[str], Path], renderer_of: Callable[[str], Renderer], family: str
) -> None:
    theirs = PreTrainedTokenizerFast.from_pretrained(folder_of(family))
    if family == "gpt2":
        theirs.chat_template = DEFAULT_TEMPLATE
    for messages in CONVERSATIONS:
        tools = [TOOL] if family == "chatml" else None
        expected = theirs.apply_chat_template(
            messages, tools=tools, add_generation_prompt=True, enable_thinking=False, return_dict=False
        )
        assert renderer_of(family).prompt(messages, tools) == expected
