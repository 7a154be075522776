"""Causal attention over rows of several lengths laid out one after another, without padding masks.

A micro-batch is one flat run of rows: matrices see all of them at once, attention sees each bucket (so many
sequences of one padded length) as a plain causal batch. Right padding needs no mask: a position never looks ahead,
so what stands behind a sequence's end cannot reach it.

Shapes: N rows of all buckets, B sequences of a bucket, T its length, H query heads, G key and value heads,
K head width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Bucket:
    """`sequences` runs of `length` rows each, standing next to each other."""

    sequences: int
    length: int

    @property
    def rows(self) -> int:
        return self.sequences * self.length


@dataclass(frozen=True)
class CausalAttention:
    """The `attend` of training and of scoring without a cache: every sequence attends to itself alone.

    On CPU softmax runs in float32 whatever the model's dtype: the fused kernel's backward pass in bfloat16 is three
    times slower than in float32, and float32 is what the promised exactness stands on. Elsewhere it runs in the
    model's dtype, which the fused kernels want.
    """

    buckets: Sequence[Bucket]

    def __call__(self, layer: int, q_NHK: Tensor, k_NGK: Tensor, v_NGK: Tensor) -> Tensor:
        """Attention output, N H K; `layer` is not used, a cache would need it."""
        dtype = torch.float32 if v_NGK.device.type == "cpu" else v_NGK.dtype
        rows = [bucket.rows for bucket in self.buckets]
        runs = zip(self.buckets, *(x.to(dtype).split(rows) for x in (q_NHK, k_NGK, v_NGK)), strict=True)
        parts = [_attend(bucket, q, k, v) for bucket, q, k, v in runs]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def positions(self, device: str | torch.device) -> Tensor:
        """Position of every row in its own sequence, N int64."""
        return torch.cat([torch.arange(b.length, device=device).repeat(b.sequences) for b in self.buckets])


def _attend(bucket: Bucket, q_NHK: Tensor, k_NGK: Tensor, v_NGK: Tensor) -> Tensor:
    shape = (bucket.sequences, bucket.length)
    q_BHTK, k_BGTK, v_BGTK = (x.unflatten(0, shape).transpose(1, 2) for x in (q_NHK, k_NGK, v_NGK))
    out_BHTK = F.scaled_dot_product_attention(
        q_BHTK, k_BGTK, v_BGTK, is_causal=True, enable_gqa=q_NHK.shape[1] != k_NGK.shape[1]
    )
    return out_BHTK.transpose(1, 2).flatten(0, 1)
