"""From hidden states to losses: one primitive, log-probabilities of chosen tokens, and the losses built on it.

Every method needs log p(token | prefix) at some positions and a gradient for it, so the expensive part (the head, a
matrix of the vocabulary's size) is written once. It looks only at the positions that a loss asks for, in chunks that
stay in cache, and finds the gradient's direction while the chunk's logits are still there:

    log p(y) = z_y - logsumexp(z),  z = W h        d log p(y) / d h = W^T (onehot(y) - softmax(z))

The direction, P x D, is all that is kept; backward multiplies it by whatever scalar the loss sends to each position.

Shapes: N flat rows, P positions that a loss asks for, C positions of one chunk, D width, V vocabulary.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

_CHUNK_BYTES = 4 * 1024 * 1024
_CHUNK_POSITIONS_MIN = 128


def logprobs(
    hidden_ND: Tensor, head_VD: Tensor, positions_P: Tensor, targets_P: Tensor, *, groups: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """log p(target) after each position (P, float32, nats), and whether the target was the likeliest token (P, bool).

    `positions_P` are distinct rows of `hidden_ND`. `groups` are lengths that sum to P: no chunk reaches over the end
    of a group, so a group's bits do not depend on its neighbours. Gradients reach `hidden_ND`, and `head_VD` when it
    requires them (at the price of computing its logits twice).
    """
    chunks = tuple(_split(groups if groups is not None else (len(positions_P),), chunk_positions(len(head_VD))))
    return _LogProbs.apply(hidden_ND, head_VD, positions_P, targets_P, chunks)


def cross_entropy(logprobs_P: Tensor, weights_P: Tensor, *, weight_total: float) -> Tensor:
    """-sum_i w_i log p_i / W, this micro-batch's share of an optimizer step's mean negative log-likelihood.

    W is the supervised weight of the whole optimizer step, not of the micro-batch: only then do the shares of any
    split add up to the same loss and gradient. No supervised token gives exactly 0.
    """
    return -(weights_P * logprobs_P).sum() / max(weight_total, 1e-8)


def chunk_positions(vocab_size: int) -> int:
    """How many positions' logits are held at once: as many as fit the cache, but enough for a good matrix product."""
    return max(_CHUNK_POSITIONS_MIN, _CHUNK_BYTES // (4 * vocab_size))


def _split(groups: Sequence[int], size: int) -> list[int]:
    chunks = []
    for group in groups:
        chunks += [size] * (group // size)
        chunks += [group % size] if group % size else []
    return chunks


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_ND, head_VD, positions_P, targets_P, chunks):
        selected_PD = hidden_ND[positions_P]
        logprobs_P = torch.empty(len(positions_P), dtype=torch.float32, device=hidden_ND.device)
        correct_P = torch.empty(len(positions_P), dtype=torch.bool, device=hidden_ND.device)
        wants_direction = ctx.needs_input_grad[0]
        directions = []
        for at, h_CD, y_C in _chunks(selected_PD, targets_P, chunks):
            logits_CV = (h_CD @ head_VD.T).float()
            top_C = logits_CV.amax(-1)
            target_C = logits_CV.gather(-1, y_C[:, None]).squeeze(-1)
            correct_P[at] = target_C == top_C
            odds_CV = logits_CV.sub_(top_C[:, None]).exp_()
            target_odds_C, rest_C = _take_out(odds_CV, y_C)
            sum_C = rest_C + target_odds_C
            logprobs_P[at] = torch.where(correct_P[at], -torch.log1p(rest_C), target_C - top_C - sum_C.log())
            if wants_direction:
                directions.append(_pull(odds_CV, y_C, rest_C, sum_C).to(head_VD.dtype) @ head_VD)
        direction_PD = torch.cat(directions).float() if directions else None
        ctx.chunks = chunks
        ctx.rows = len(hidden_ND)
        ctx.save_for_backward(selected_PD, head_VD, positions_P, targets_P, direction_PD)
        ctx.mark_non_differentiable(correct_P)
        return logprobs_P, correct_P

    @staticmethod
    def backward(ctx, grad_P, _):
        selected_PD, head_VD, positions_P, targets_P, direction_PD = ctx.saved_tensors
        grad_hidden_ND = grad_head_VD = None
        if ctx.needs_input_grad[0]:
            grad_hidden_ND = selected_PD.new_zeros(ctx.rows, selected_PD.shape[1])
            if direction_PD is not None:
                grad_hidden_ND[positions_P] = (direction_PD * grad_P[:, None]).to(selected_PD.dtype)
        if ctx.needs_input_grad[1]:
            grad_head_VD = _head_gradient(selected_PD, head_VD, targets_P, grad_P, ctx.chunks)
        return grad_hidden_ND, grad_head_VD, None, None, None


def _chunks(selected_PD: Tensor, targets_P: Tensor, chunks: Sequence[int]) -> Iterator[tuple[slice, Tensor, Tensor]]:
    start = 0
    for size in chunks:
        at = slice(start, start + size)
        yield at, selected_PD[at], targets_P[at]
        start += size


def _take_out(odds_CV: Tensor, targets_C: Tensor) -> tuple[Tensor, Tensor]:
    """The target's odds exp(z - max z), set to 0 among the others, and the sum of the others.

    Taken apart, 1 - p(y) and the log p(y) of the likeliest token keep their digits where p(y) nears 1.
    """
    target_odds_C = odds_CV.gather(-1, targets_C[:, None]).squeeze(-1)
    return target_odds_C, odds_CV.scatter_(-1, targets_C[:, None], 0.0).sum(-1)


def _pull(odds_CV: Tensor, targets_C: Tensor, rest_C: Tensor, sum_C: Tensor) -> Tensor:
    """onehot(y) - softmax, made in place of the odds."""
    odds_CV.mul_(sum_C.reciprocal().neg_()[:, None])
    return odds_CV.scatter_(-1, targets_C[:, None], (rest_C / sum_C)[:, None])


def _head_gradient(
    selected_PD: Tensor, head_VD: Tensor, targets_P: Tensor, grad_P: Tensor, chunks: Sequence[int]
) -> Tensor:
    """sum_i g_i (onehot(y_i) - softmax(z_i)) h_i^T, V D, summed in float32 whatever the head's dtype."""
    grad_VD = torch.zeros(head_VD.shape, dtype=torch.float32, device=head_VD.device)
    for at, h_CD, y_C in _chunks(selected_PD, targets_P, chunks):
        logits_CV = (h_CD @ head_VD.T).float()
        odds_CV = logits_CV.sub_(logits_CV.amax(-1, keepdim=True)).exp_()
        target_odds_C, rest_C = _take_out(odds_CV, y_C)
        pull_CV = _pull(odds_CV, y_C, rest_C, rest_C + target_odds_C)
        grad_VD.addmm_(pull_CV.mul_(grad_P[at, None]).T, h_CD.float())
    return grad_VD.to(head_VD.dtype)
