"""One forward and backward pass for the micro-batches of one or several slots on the same weights.

The base's matrices see all rows at once; adapters, loss sums and gradients stay per request, in the order given. So a
request gets what it would get alone: the base is frozen, and no operation mixes rows of different requests.

Shapes: N flat rows of all requests, P supervised positions of all requests, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tunery.modeling.attention import CausalAttention
from tunery.modeling.llama import CausalLM
from tunery.modeling.lora import Adapter, LoraSegments, Segment
from tunery.training.batches import MicroBatch
from tunery.training.losses import logprobs
from tunery.training.verbs import Scored


@dataclass(frozen=True, kw_only=True)
class Request:
    """One slot's micro-batch."""

    rows: MicroBatch
    loss: Callable[[Tensor], Tensor] | None
    """None computes no gradient."""
    adapter: Adapter | None


def score(model: CausalLM, requests: Sequence[Request]) -> list[Scored]:
    """Score every request; gradients of its loss are added to the tensors of its adapter (or to the model's own).

    A request that turns out not finite spoils nobody else's numbers.
    """
    with torch.set_grad_enabled(any(request.loss is not None for request in requests)):
        logprobs_P, correct_P = _forward(model, requests)
        groups = [len(request.rows.targets_P) for request in requests]
        losses = [
            request.loss(part) if request.loss is not None else None
            for request, part in zip(requests, logprobs_P.split(groups), strict=True)
        ]
        with_gradient = [loss for loss in losses if loss is not None and loss.requires_grad]
        if with_gradient:
            torch.autograd.backward(with_gradient)
    return [
        Scored(part.detach(), correct, 0.0 if loss is None else loss.item())
        for part, correct, loss in zip(logprobs_P.split(groups), correct_P.split(groups), losses, strict=True)
    ]


def _forward(model: CausalLM, requests: Sequence[Request]) -> tuple[Tensor, Tensor]:
    attend = CausalAttention([bucket for request in requests for bucket in request.rows.buckets])
    tokens_N = torch.cat([request.rows.tokens_N for request in requests])
    segments = [Segment(len(request.rows.tokens_N), request.adapter) for request in requests]
    lora = LoraSegments(segments) if any(segment.adapter is not None for segment in segments) else None
    hidden_ND = model.hidden(tokens_N, positions=attend.positions(tokens_N.device), attend=attend, lora=lora)
    return logprobs(
        hidden_ND,
        model.head_weight,
        torch.cat(_offset_positions(requests)),
        torch.cat([request.rows.targets_P for request in requests]),
        groups=[len(request.rows.targets_P) for request in requests],
    )


def _offset_positions(requests: Sequence[Request]) -> list[Tensor]:
    positions, start = [], 0
    for request in requests:
        positions.append(request.rows.positions_P + start)
        start += len(request.rows.tokens_N)
    return positions
