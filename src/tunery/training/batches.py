"""From token files to micro-batches: which examples a step sees, how they are split, and how they lie in memory.

All of it is a pure function of the TrainSpec and the step number. That is what makes a resumed run equal an unbroken
one without replaying an iterator, and a job's numbers independent of what else trains beside it.

Shapes: N flat rows of a micro-batch (padding included), P supervised positions among them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tunery.modeling.attention import Bucket

LENGTH_MULTIPLE = 32
"""Every sequence is padded to a multiple of this by its own length alone. So attention sees it in the same shape
whatever stands beside it, and a base matrix never sees fewer than the 16 rows below which its bits would differ."""

_PADDING = 0
_SWEEP_EXAMPLES = 256


class Examples(Protocol):
    """Tokenised examples by index; see data.tokens.TokenFile."""

    def __len__(self) -> int: ...

    def row(self, index: int, /) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and each token's weight as a label (0: only context), of equal length."""


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """Sequences of one forward pass, shortest first, flat, each bucket's sequences next to each other."""

    tokens_N: Tensor
    """int64, padded with token 0 behind each sequence's end."""
    buckets: tuple[Bucket, ...]
    positions_P: Tensor
    """Rows whose state predicts a supervised token, int64, ascending."""
    targets_P: Tensor
    """The supervised tokens, int64."""
    weights_P: Tensor
    """Their weights, float32."""
    n_tokens: int
    """Of the examples, padding not counted."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One optimizer step's examples."""

    micro_batches: tuple[MicroBatch, ...]
    weight_total: float
    """Supervised weight of all of them: the denominator of the step's loss."""

    @property
    def n_tokens(self) -> int:
        return sum(rows.n_tokens for rows in self.micro_batches)

    @property
    def n_supervised(self) -> int:
        return sum(len(rows.targets_P) for rows in self.micro_batches)


@dataclass(kw_only=True)
class Batches:
    """Every optimizer step's batch of a run, by its number."""

    examples: Examples
    batch_size: int
    tokens_max: int
    """Padded tokens of one micro-batch; a longer example makes a micro-batch of its own."""
    seed: int
    device: str
    _order: tuple[int, np.ndarray] | None = field(default=None, init=False)
    """The order of the epoch asked for last; sorting a million draws takes a tenth of a second."""

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.examples) // self.batch_size)

    def batch(self, step: int) -> Batch:
        """The examples of 1-based `step`; the last step of an epoch takes what is left."""
        epoch, index = divmod(step - 1, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, shuffle(len(self.examples), seed=self.seed, epoch=epoch))
        order = self._order[1]
        return self.collect(order[index * self.batch_size : (index + 1) * self.batch_size])

    def sweep(self) -> Iterator[MicroBatch]:
        """Every example once, in the file's order but for sorting inside each stretch; holds one stretch at a time."""
        for start in range(0, len(self.examples), _SWEEP_EXAMPLES):
            yield from self.collect(range(start, min(start + _SWEEP_EXAMPLES, len(self.examples)))).micro_batches

    def collect(self, indices: Sequence[int] | range | np.ndarray) -> Batch:
        """Any examples as one batch."""
        examples = [shift(*self.examples.row(int(index))) for index in indices]
        micro_batches = tuple(lay_out(part, device=self.device) for part in split(examples, self.tokens_max))
        weight_total = sum(float(rows.weights_P.double().sum()) for rows in micro_batches)
        return Batch(micro_batches=micro_batches, weight_total=weight_total)


@dataclass(frozen=True, kw_only=True)
class Example:
    """One example as inputs and shifted labels: targets[i] is what follows inputs[i], weights[i] its weight."""

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    n_tokens: int

    @property
    def padded(self) -> int:
        return -(-len(self.inputs) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE


def shift(tokens: np.ndarray, weights: np.ndarray) -> Example:
    """Inputs up to the last supervised label; what stands behind it can change neither loss nor gradient.

    The first token is never a label, nothing predicts it.
    """
    supervised = np.flatnonzero(weights[1:] > 0)
    end = int(supervised[-1]) + 1 if len(supervised) else 1
    return Example(inputs=tokens[:end], targets=tokens[1 : end + 1], weights=weights[1 : end + 1], n_tokens=len(tokens))


def shuffle(n_examples: int, *, seed: int, epoch: int) -> np.ndarray:
    """The order of one epoch: indices sorted by Philox draws (Salmon et al. 2011) keyed with (seed, epoch).

    Raw draws and a stable sort are the same in every version of numpy, which its own permutations are not.
    """
    draws = np.random.Philox(key=np.array([seed % 2**64, epoch], dtype=np.uint64)).random_raw(n_examples)
    return np.argsort(draws, kind="stable")


def split(examples: Sequence[Example], tokens_max: int) -> list[list[Example]]:
    """Micro-batches of at most `tokens_max` padded tokens, examples sorted by padded length, ties in their order."""
    parts: list[list[Example]] = []
    room = 0
    for example in sorted(examples, key=lambda example: example.padded):
        if not parts or example.padded > room:
            parts.append([])
            room = tokens_max
        parts[-1].append(example)
        room -= example.padded
    return parts


def lay_out(examples: Sequence[Example], *, device: str) -> MicroBatch:
    """Sorted examples as one flat run of rows."""
    tokens_N = np.full(sum(example.padded for example in examples), _PADDING, dtype=np.int64)
    positions, targets, weights = [], [], []
    start = 0
    for example in examples:
        tokens_N[start : start + len(example.inputs)] = example.inputs
        supervised = np.flatnonzero(example.weights > 0)
        positions.append(start + supervised)
        targets.append(example.targets[supervised])
        weights.append(example.weights[supervised])
        start += example.padded
    return MicroBatch(
        tokens_N=torch.from_numpy(tokens_N).to(device),
        buckets=tuple(Bucket(len(list(group)), length) for length, group in groupby(examples, lambda e: e.padded)),
        positions_P=torch.from_numpy(np.concatenate(positions)).to(device),
        targets_P=torch.from_numpy(np.concatenate(targets).astype(np.int64)).to(device),
        weights_P=torch.from_numpy(np.concatenate(weights).astype(np.float32)).to(device),
        n_tokens=sum(example.n_tokens for example in examples),
    )
