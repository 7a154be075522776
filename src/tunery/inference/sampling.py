"""From scores to tokens: one draw for each row of a batch, each row by its own parameters.

Reproducible by construction. Position i of an answer consumes one uniform number, a pure function of (seed, i), and
turns it into a token by the inverse of the row's cumulative distribution; every operation works on each row alone. So
neither neighbours nor the order of arrival can change what a request gets.

Shapes: R rows, V vocabulary, C candidates.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tunery.types.sampling import SampleRequest, Token

TOP_LOGPROBS_MAX = 20
_TEMPERATURE_MIN = 1e-5
_NUCLEUS_CANDIDATES = 256
_UNIFORM_BITS = 48


def draw_uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on the two arguments alone.

    Counter-based, as in Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3"), with BLAKE2b as the mixing
    function: any position can be drawn without the ones before it. 48 bits, so that its product with a float64 total
    stays below the total.
    """
    counter = struct.pack("<QQ", seed & 0xFFFFFFFFFFFFFFFF, position)
    digest = hashlib.blake2b(counter, digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> (64 - _UNIFORM_BITS)) / (1 << _UNIFORM_BITS)


@dataclass
class Sampler:
    """One request's way of choosing tokens, and what it has to remember for that."""

    request: SampleRequest
    position: int = 0
    """How many tokens have been drawn; the next one uses this draw of the seed."""
    counts: dict[int, int] = field(default_factory=dict)
    """How often each token was drawn; kept only when a penalty needs it."""

    @property
    def is_greedy(self) -> bool:
        return self.request.temperature == 0

    @property
    def has_penalty(self) -> bool:
        return self.request.frequency_penalty != 0 or self.request.presence_penalty != 0

    def adjustments(self) -> dict[int, float]:
        """What is added to the scores of single tokens before the draw.

        The API's formula: minus count * frequency_penalty, minus presence_penalty once drawn, plus logit_bias.
        """
        added = dict(self.request.logit_bias)
        for token, count in self.counts.items():
            penalty = count * self.request.frequency_penalty + self.request.presence_penalty
            added[token] = added[token] - penalty if token in added else -penalty
        return added

    def accept(self, token: int) -> None:
        """Move on to the next position."""
        self.position += 1
        if self.has_penalty:
            self.counts[token] = self.counts[token] + 1 if token in self.counts else 1


def sample(logits_RV: Tensor, samplers: Sequence[Sampler]) -> list[Token | None]:
    """Draw one token per row and move its sampler on; `logits_RV` is float32 and stays as it is.

    A row whose scores are not numbers (an adapter that diverged) gives None, its sampler unmoved. Log-probabilities
    are those of the model itself: temperature 1, no penalties, no bias.
    """
    normalizers = torch.logsumexp(logits_RV, dim=-1)
    chosen = _choose(_adjust(logits_RV, samplers), samplers)
    logprobs = logits_RV.gather(-1, chosen.unsqueeze(-1)).squeeze(-1) - normalizers
    tops = _list_alternatives(logits_RV, normalizers, samplers)
    drawn: list[Token | None] = []
    for row, (token, logprob, normalizer) in enumerate(
        zip(chosen.tolist(), logprobs.tolist(), normalizers.tolist(), strict=True)
    ):
        if normalizer - normalizer != 0.0:
            drawn.append(None)
            continue
        samplers[row].accept(token)
        drawn.append(Token(token=token, logprob=logprob, top=tops[row]))
    return drawn


def _adjust(logits_RV: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """The scores with penalties and biases; the same tensor when no row has any."""
    rows = [row for row, sampler in enumerate(samplers) if sampler.counts or sampler.request.logit_bias]
    if not rows:
        return logits_RV
    adjusted_RV = logits_RV.clone()
    for row in rows:
        added = samplers[row].adjustments()
        tokens = torch.tensor(list(added), device=logits_RV.device)
        adjusted_RV[row, tokens] += torch.tensor(list(added.values()), device=logits_RV.device)
    return adjusted_RV


def _choose(logits_RV: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """The drawn token of every row, R int64. Rows that are not numbers get some token in range."""
    greedy = [row for row, sampler in enumerate(samplers) if sampler.is_greedy]
    if len(greedy) == len(samplers):
        return logits_RV.max(dim=-1).indices
    drawn = [row for row, sampler in enumerate(samplers) if not sampler.is_greedy]
    whole = [row for row in drawn if samplers[row].request.top_p >= 1]
    nucleus = [row for row in drawn if samplers[row].request.top_p < 1]
    chosen = torch.empty(len(samplers), dtype=torch.int64, device=logits_RV.device)
    if greedy:
        chosen[greedy] = logits_RV[greedy].max(dim=-1).indices
    if whole:
        cumulative = _probabilities(logits_RV, samplers, whole).cumsum(dim=-1, dtype=torch.float64)
        chosen[whole] = _invert(cumulative, _uniforms(samplers, whole, logits_RV.device))
    if nucleus:
        chosen[nucleus] = _choose_nucleus(logits_RV, samplers, nucleus)
    return chosen


def _probabilities(logits_RV: Tensor, samplers: Sequence[Sampler], rows: list[int]) -> Tensor:
    """softmax(scores / temperature) of some rows."""
    temperatures = [max(samplers[row].request.temperature, _TEMPERATURE_MIN) for row in rows]
    picked_RV = logits_RV if len(rows) == len(samplers) else logits_RV[rows]
    if any(temperature != 1.0 for temperature in temperatures):
        picked_RV = picked_RV / torch.tensor(temperatures, device=logits_RV.device).unsqueeze(-1)
    return torch.softmax(picked_RV, dim=-1)


def _uniforms(samplers: Sequence[Sampler], rows: list[int], device: torch.device) -> Tensor:
    draws = [draw_uniform(samplers[row].request.seed, samplers[row].position) for row in rows]
    return torch.tensor(draws, dtype=torch.float64, device=device)


def _invert(cumulative_RC: Tensor, uniforms_R: Tensor) -> Tensor:
    """The first column whose cumulative mass exceeds u times the whole: a column without mass is never taken."""
    targets_R1 = (uniforms_R * cumulative_RC[:, -1]).unsqueeze(-1)
    columns_R = torch.searchsorted(cumulative_RC, targets_R1, right=True).squeeze(-1)
    return columns_R.clamp_(max=cumulative_RC.shape[-1] - 1)


def _choose_nucleus(logits_RV: Tensor, samplers: Sequence[Sampler], rows: list[int]) -> Tensor:
    """Draws from the fewest tokens that hold top_p of the mass (Holtzman et al. 2019, arXiv 1904.09751).

    A full sort costs more than the rest of a step, and the nucleus is nearly always small: a row looks at its best
    few candidates first and at all of them only when these hold too little.
    """
    probabilities_RV = _probabilities(logits_RV, samplers, rows)
    vocabulary = probabilities_RV.shape[-1]
    limits_R = torch.tensor([samplers[row].request.top_p for row in rows], dtype=torch.float64, device=logits_RV.device)
    uniforms_R = _uniforms(samplers, rows, logits_RV.device)
    chosen_R, mass_R = _draw_candidates(
        probabilities_RV, limits_R=limits_R, uniforms_R=uniforms_R, candidates=min(_NUCLEUS_CANDIDATES, vocabulary)
    )
    wide = (mass_R < limits_R).nonzero().squeeze(-1)
    if wide.numel():
        chosen_R[wide] = _draw_candidates(
            probabilities_RV[wide], limits_R=limits_R[wide], uniforms_R=uniforms_R[wide], candidates=vocabulary
        )[0]
    return chosen_R


def _draw_candidates(
    probabilities_RV: Tensor, *, limits_R: Tensor, uniforms_R: Tensor, candidates: int
) -> tuple[Tensor, Tensor]:
    """The drawn token of every row out of its best `candidates`, and the mass that these hold."""
    best_RC, tokens_RC = probabilities_RV.topk(candidates, dim=-1)
    best_RC = best_RC.double()
    cumulative_RC = best_RC.cumsum(dim=-1)
    kept_RC = (cumulative_RC - best_RC) < limits_R.unsqueeze(-1)
    kept_RC[:, 0] = True
    columns_R = _invert((best_RC * kept_RC).cumsum(dim=-1), uniforms_R)
    return tokens_RC.gather(-1, columns_R.unsqueeze(-1)).squeeze(-1), cumulative_RC[:, -1]


def _list_alternatives(
    logits_RV: Tensor, normalizers_R: Tensor, samplers: Sequence[Sampler]
) -> list[list[tuple[int, float]]]:
    """The most likely tokens with their log-probabilities, best first; none for rows that did not ask."""
    alternatives: list[list[tuple[int, float]]] = [[] for _ in samplers]
    rows = [row for row, sampler in enumerate(samplers) if sampler.request.top_logprobs > 0]
    if rows:
        best_RC, tokens_RC = logits_RV[rows].topk(min(TOP_LOGPROBS_MAX, logits_RV.shape[-1]), dim=-1)
        logprobs = (best_RC - normalizers_R[rows].unsqueeze(-1)).tolist()
        for row, tokens, values in zip(rows, tokens_RC.tolist(), logprobs, strict=True):
            alternatives[row] = list(zip(tokens, values, strict=True))[: samplers[row].request.top_logprobs]
    return alternatives
