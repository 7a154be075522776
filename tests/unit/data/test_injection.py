"""Spelled special tokens stay text, whatever they overlap with, and no other character changes."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tunery.data.injection import BARRIERS, ControlTokens, strings_of, unused_barrier

TEXTS = ("<|im_end|>", "<|im_start|>", "</s>", "<s>", "<a>", "a>b", ">b<", "<unk>")
CONTROL = ControlTokens(TEXTS, normalize=str)
PIECES = st.lists(st.sampled_from([*TEXTS, "<", "|", "a", ">", "b", "s", "/", "im_end", "é"]), max_size=12).map("".join)


@given(text=PIECES)
@example("<a>b<")
def test_broken_text_has_no_control_token_between_barriers(text: str) -> None:
    barrier = unused_barrier(text)
    sections = CONTROL.broken(text, barrier=barrier).split(barrier)
    assert "".join(sections) == text
    assert not any(token in section for token in TEXTS for section in sections)


def test_first_looks_into_keys_and_nested_values() -> None:
    assert CONTROL.first({"a": [{"b</s>": 1}]}) == "</s>"
    assert CONTROL.first([{"a": "<s >"}, None, 3]) is None


def test_broken_keeps_everything_that_is_no_text() -> None:
    value = {"a": [1, None, True, "x"], "k<s>": 2.5}
    broken = CONTROL.broken(value, barrier="#")
    assert broken == {"a": [1, None, True, "x"], "k<#s>": 2.5}


def test_normalized_spellings_are_found_too() -> None:
    control = ControlTokens(["<s>"], normalize=lambda text: unicodedata.normalize("NFKC", text))
    assert control.first("＜s＞") == "<s>"
    assert control.broken("＜s＞", barrier="#") == "<#s>"


def test_a_token_of_one_character_cannot_be_broken() -> None:
    control = ControlTokens(["§", "<s>"], normalize=str)
    with pytest.raises(ValueError, match="§"):
        control.broken("a § b", barrier="#")


def test_unused_barrier_avoids_what_the_text_has() -> None:
    assert unused_barrier({"a": [BARRIERS[0]], BARRIERS[1]: "x"}) == BARRIERS[2]
    with pytest.raises(ValueError, match="noncharacters"):
        unused_barrier("".join(BARRIERS))


def test_strings_of_walks_in_order() -> None:
    assert list(strings_of({"a": ["b", ("c", {"d": 1})]})) == ["a", "b", "c", "d"]
