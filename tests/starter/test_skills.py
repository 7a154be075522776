"""The packaged weights still do what the card says, on a small sample of every skill's exam."""

import re

import pytest
from corpus.mixture import EXAM
from evaluate import generate, score
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from tunery.starter import FOLDER

PAPERS = 12
SAMPLE_SEED = 77
ROW = re.compile(r"^\| ([a-z -]+) \| \d+ % \| \d+ % \| (\d+) % \|$", re.MULTILINE)


def floors() -> dict[str, float]:
    """From the card's table, per skill, the accuracy below which the weights count as broken."""
    return {skill: int(floor) / 100 for skill, floor in ROW.findall((FOLDER / "README.md").read_text())}


def test_card_covers_every_skill() -> None:
    assert set(floors()) == set(EXAM)


@pytest.mark.parametrize("skill", [skill for skill, floor in floors().items() if floor > 0])
def test_skill_keeps_above_its_floor(starter: PreTrainedModel, tokenizer: Tokenizer, skill: str) -> None:
    accuracy, misses = score(starter, tokenizer, skill, count=PAPERS, seed=SAMPLE_SEED, unheard=False)
    assert accuracy >= floors()[skill], misses


@pytest.mark.parametrize("hello", ["Hello!", "Hi", "Good morning!"])
def test_greeting_is_answered_in_kind(starter: PreTrainedModel, tokenizer: Tokenizer, hello: str) -> None:
    (answer,) = generate(starter, tokenizer, [f"<|bos|><|user|>{hello}<|end|><|assistant|>"], temperature=0.0, seed=0)
    assert "How can I help you?" in answer
