"""The short comparison from the last added token on agrees with tokenising the prompt in full."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunery.data.boundaries import Boundaries
from tunery.data.tokenizer import Tokenizer

FolderOf = Callable[[str], Path]
PIECE = st.sampled_from(
    ["<|im_start|>", "<|im_end|>", "<tool_call>", "<", "a", " b", "\n", "\n\n", "assistant", "é", "</s>", "  "]
)
PIECE |= st.sampled_from(["<|user|>", "<|end|>", "<s>", "<|im_", "end|>"])
TEXT = st.lists(PIECE, max_size=10).map("".join)
_KNOWN: dict[str, tuple[Tokenizer, Boundaries]] = {}


@pytest.mark.parametrize("family", ["chatml", "phi", "mistral", "mistral_first", "mistral_legacy", "gpt2"])
@given(prompt=TEXT, rest=TEXT)
def test_tokens_before_agrees_with_the_long_way(folder_of: FolderOf, family: str, prompt: str, rest: str) -> None:
    if family not in _KNOWN:
        tokenizer = Tokenizer(folder_of(family))
        _KNOWN[family] = (tokenizer, Boundaries(tokenizer))
    tokenizer, boundaries = _KNOWN[family]
    tokens, own = tokenizer.encode(prompt + rest), tokenizer.encode(prompt)
    expected = len(own) if tokens[: len(own)] == own else None
    anchors = boundaries.anchors(prompt + rest, tokens)
    assert boundaries.tokens_before(prompt, tokens, anchors) == expected


def test_anchors_give_up_where_the_tokenizer_saw_other_tokens(folder_of: FolderOf) -> None:
    tokenizer = Tokenizer(folder_of("chatml"))
    tokens = tokenizer.encode("a<|im_end|>b")
    boundaries = Boundaries(tokenizer)
    anchors = boundaries.anchors("a<|im_end|>b", tokens)
    assert anchors is not None
    assert (anchors.starts, anchors.ends) == ([1], [11])
    assert boundaries.anchors("a<|im_start|>b", tokens) is None
