"""Conversations to fixed-size training batches: packed rows in which no conversation sees its neighbour.

Legend: R rows in a batch, T tokens in a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
import torch
from corpus.mixture import Phase, stream
from corpus.voice import Conversation
from tokenizer import HERE, PAD, SPECIAL_TOKENS
from tokenizers import Tokenizer

ANSWER_WEIGHT, CONTEXT_WEIGHT = 1.0, 0.1
LONG_ROW = 2048
OPEN_ROWS = 12


@dataclass(frozen=True)
class Batch:
    """tokens_RT with, per token, its loss weight, its place in its conversation and that conversation's number."""

    tokens_RT: torch.Tensor
    weights_RT: torch.Tensor
    positions_RT: torch.Tensor
    documents_RT: torch.Tensor

    def seen(self) -> torch.Tensor:
        """seen_R1TT, true where a token may look: at earlier tokens of its own conversation, and at itself."""
        same_RTT = self.documents_RT[:, :, None] == self.documents_RT[:, None, :]
        return torch.tril(same_RTT)[:, None]


@cache
def chat_template() -> jinja2.Template:
    return jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(
        (HERE / "chat_template.jinja").read_text()
    )


def load_tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def tokens_and_weights(tokenizer: Tokenizer, conversation: Conversation) -> tuple[list[int], list[float]]:
    """The rendered conversation; answers and their end count fully, what they answer counts a little."""
    text = chat_template().render(messages=conversation.messages, tools=conversation.tools)
    tokens = tokenizer.encode(text, add_special_tokens=False).ids
    assistant, end = SPECIAL_TOKENS.index("<|assistant|>"), SPECIAL_TOKENS.index("<|end|>")
    weights, answering = [], False
    for token in tokens:
        weights.append(ANSWER_WEIGHT if answering else CONTEXT_WEIGHT)
        answering = token == assistant or (answering and token != end)
    return tokens, weights


class Packer:
    """Fills rows of T tokens with whole conversations, longest waiting row first; what fits nowhere opens a new row."""

    def __init__(self, *, tokenizer: Tokenizer, seed: int, phase: Phase, length: int) -> None:
        self.tokenizer = tokenizer
        self.length = length
        self.conversations = stream(seed=seed, phase=phase)
        self.open: list[list[tuple[list[int], list[float]]]] = []
        self.long: list[tuple[list[int], list[float]]] = []

    def rows(self) -> Iterator[list[tuple[list[int], list[float]]]]:
        for conversation in self.conversations:
            item = tokens_and_weights(self.tokenizer, conversation)
            if len(item[0]) > self.length:
                if len(item[0]) <= LONG_ROW:
                    self.long.append(item)
                continue
            for row in self.open:
                if sum(len(tokens) for tokens, _ in row) + len(item[0]) <= self.length:
                    row.append(item)
                    break
            else:
                self.open.append([item])
            if len(self.open) > OPEN_ROWS:
                fullest = max(self.open, key=lambda row: sum(len(tokens) for tokens, _ in row))
                self.open.remove(fullest)
                yield fullest

    def batches(self, *, count: int) -> Iterator[Batch]:
        """Batches of `count` rows; conversations too long for a row wait in `long` for a batch of their own."""
        rows = self.rows()
        while True:
            yield collate([next(rows) for _ in range(count)], length=self.length)


def collate(rows: list[list[tuple[list[int], list[float]]]], *, length: int) -> Batch:
    shape = (len(rows), length)
    tokens_RT = torch.full(shape, SPECIAL_TOKENS.index(PAD))
    weights_RT = torch.zeros(shape)
    positions_RT = torch.zeros(shape, dtype=torch.long)
    documents_RT = torch.full(shape, -1)
    for r, row in enumerate(rows):
        start = 0
        for number, (tokens, weights) in enumerate(row):
            stop = start + len(tokens)
            tokens_RT[r, start:stop] = torch.tensor(tokens)
            weights_RT[r, start:stop] = torch.tensor(weights)
            weights_RT[r, start] = 0.0
            positions_RT[r, start:stop] = torch.arange(len(tokens))
            documents_RT[r, start:stop] = number
            start = stop
    return Batch(tokens_RT, weights_RT, positions_RT, documents_RT)
