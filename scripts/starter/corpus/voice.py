"""One seeded source of choices for all skills, so that a seed fixes every byte of the corpus.

A voice also keeps some phrasings apart: the training voice never utters the last of a list of phrasings, the
examiner's voice utters nothing else. So held-out accuracy is measured on unseen wordings, not only on unseen values.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

Item = TypeVar("Item")

PHRASINGS_MIN_TO_SPLIT = 4
WORDS_MIN_TO_DROP = 3
DROP_SHARE, DISTURBED_SHARE = 0.2, 0.25
BEFORE = (
    "Hi! ",
    "Hello, ",
    "Please: ",
    "Quick question: ",
    "Next: ",
    "Okay. ",
    "Now this: ",
    "And now: ",
    "Hey, ",
    "So: ",
)
AFTER = (" Please.", " Thanks!", " please", " Thank you.", " Quickly!", " I need to know.")


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
        return self.wording(phrasings).format(**values)

    def ask(self, phrasings: Sequence[str], /, **values: object) -> str:
        """As `say`, but now and then without one of its words: only for wordings that stay clear without any one."""
        wording = self.wording(phrasings)
        words = wording.split(" ")
        droppable = [i for i, word in enumerate(words) if "{" not in word and "\n" not in word]
        if not self.examiner and len(droppable) >= WORDS_MIN_TO_DROP and self.chance(DROP_SHARE):
            del words[self.pick(droppable)]
        return " ".join(words).format(**values)

    def wording(self, phrasings: Sequence[str]) -> str:
        if len(phrasings) < PHRASINGS_MIN_TO_SPLIT:
            return self.pick(phrasings)
        return phrasings[-1] if self.examiner else self.pick(phrasings[:-1])

    def disturb(self, question: str) -> str:
        """The question as people really type it: with a word before or after, without capital or full stop."""
        if self.examiner or not self.chance(DISTURBED_SHARE):
            return question
        kind = self.number(0, 3)
        if kind <= 1 or not question.endswith("?"):
            # What may be part of a text to work on, at the end of most other questions, stays as it is.
            return self.pick(BEFORE) + question
        if kind == 2:
            return question + self.pick(AFTER)
        return question[0].lower() + question[1:-1]


def turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}
