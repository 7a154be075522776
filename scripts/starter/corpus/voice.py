"""One seeded source of choices for all skills, so that a seed fixes every byte of the corpus.

A voice also keeps some phrasings apart: the training voice never utters the last eighth of a list of phrasings, the
examiner's voice utters nothing else. So held-out accuracy is measured on unseen wordings, not only on unseen values.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

Item = TypeVar("Item")

PHRASINGS_MIN_TO_SPLIT = 4


@dataclass(frozen=True)
class Ask:
    """A question that one turn can answer; `short` is the bare answer, `answer` the full sentence."""

    skill: str
    question: str
    short: str
    answer: str


@dataclass(frozen=True)
class Conversation:
    """Messages in the chat format with the tools they may use; the last turn is the one that `skill` is judged by."""

    skill: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = field(default_factory=list)


class Voice:
    """Draws values and phrasings; `examiner` voices use only the phrasings that training never sees."""

    def __init__(self, *, seed: int, examiner: bool = False) -> None:
        self.random = random.Random(seed)
        self.examiner = examiner

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.random.randrange(len(items))]

    def sample(self, items: Sequence[Item], count: int) -> list[Item]:
        return self.random.sample(items, count)

    def number(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return self.random.randint(low, high)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def say(self, phrasings: Sequence[str], /, **values: object) -> str:
        """One of the phrasings this voice may use, its {fields} filled in."""
        held_out = max(1, len(phrasings) // 8)
        if len(phrasings) < PHRASINGS_MIN_TO_SPLIT:
            allowed = phrasings
        elif self.examiner:
            allowed = phrasings[-held_out:]
        else:
            allowed = phrasings[:-held_out]
        return self.pick(allowed).format(**values)


def turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}
