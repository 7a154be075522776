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
from corpus.voice import Conversation, Voice
from tokenizer import END, HERE, PAD, SPECIAL_TOKENS
from tokenizers import Tokenizer

ANSWER_WEIGHT, CONTEXT_WEIGHT = 1.0, 0.1
LONG_ROW = 2048
ECHO_SHARE = 0.04
ECHO_PIECES_MAX = 24
ECHO_REQUESTS = ("Repeat this:", "Copy this text:", "Echo:", "Repeat after me:", "Say exactly this:")
Item = tuple[list[int], list[float]]
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


def tokens_and_weights(tokenizer: Tokenizer, conversation: Conversation) -> Item:
    """The rendered conversation; answers and their end count fully, what they answer counts a little."""
    text = chat_template().render(messages=conversation.messages, tools=conversation.tools)
    tokens = tokenizer.encode(text, add_special_tokens=False).ids
    assistant, end = SPECIAL_TOKENS.index("<|assistant|>"), SPECIAL_TOKENS.index("<|end|>")
    weights, answering = [], False
    for token in tokens:
        weights.append(ANSWER_WEIGHT if answering else CONTEXT_WEIGHT)
        answering = token == assistant or (answering and token != end)
    return tokens, weights


def echo_of_pieces(tokenizer: Tokenizer, voice: Voice) -> Item:
    """A run of tokens drawn evenly from the whole vocabulary, to be repeated.

    Some pieces exist only as steps towards longer ones and never appear in the corpus; the embedding is tied and an
    adapter leaves it alone, so a piece not practised here could never be written by any fine-tuned model.
    """
    first = len(SPECIAL_TOKENS)
    pieces = [voice.number(first, tokenizer.get_vocab_size() - 1) for _ in range(voice.number(3, ECHO_PIECES_MAX))]
    asked = tokenizer.encode(f"<|bos|><|user|>{voice.pick(ECHO_REQUESTS)}", add_special_tokens=False).ids
    middle = tokenizer.encode("<|end|><|assistant|>", add_special_tokens=False).ids
    tokens = [*asked, *pieces, *middle, *pieces, SPECIAL_TOKENS.index(END)]
    context = len(asked) + len(pieces) + len(middle)
    return tokens, [CONTEXT_WEIGHT] * context + [ANSWER_WEIGHT] * (len(tokens) - context)


class Packer:
    """Fills rows of T tokens with whole conversations, longest waiting row first; what fits nowhere opens a new row."""

    def __init__(self, *, tokenizer: Tokenizer, seed: int, phase: Phase, length: int) -> None:
        self.tokenizer = tokenizer
        self.length = length
        self.voice = Voice(seed=seed)
        self.conversations = stream(seed=seed, phase=phase)
        self.open: list[list[Item]] = []
        self.long: list[Item] = []

    def rows(self) -> Iterator[list[Item]]:
        for conversation in self.conversations:
            echoed = self.voice.chance(ECHO_SHARE)
            item = (
                echo_of_pieces(self.tokenizer, self.voice)
                if echoed
                else tokens_and_weights(self.tokenizer, conversation)
            )
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


def collate(rows: list[list[Item]], *, length: int) -> Batch:
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
