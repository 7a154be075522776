"""Attention over cached keys and values: one prompt's chunk at a time, or one new token of each running sequence.

Every sequence attends through calls of its own whose shapes depend on nothing but its own length, so its bits cannot
depend on its neighbours; on CPU the fused kernel gives other bits for other batch sizes, and sixteen small products
cost about the same as one padded batch of them (10 µs a row at 256 tokens against 9).

Shapes: N rows of a decoding batch, T rows of a chunk, S tokens of one sequence so far, G key and value heads, J query
heads of each of them, H = G * J query heads, K head width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tunery.inference.kv_cache import Extent, KVCache


@dataclass(frozen=True)
class ChunkAttention:
    """Rows that continue one prompt after its first `past` tokens, all of them cached already."""

    cache: KVCache
    extent: Extent
    past: int

    def __call__(self, layer: int, q_THK: Tensor, k_TGK: Tensor, v_TGK: Tensor) -> Tensor:
        """Attention output, T H K in float32; writes the rows' keys and values behind the cached ones."""
        n_rows = q_THK.shape[0]
        start, end = self.extent.start + self.past, self.extent.start + self.past + n_rows
        keys_PGK, values_PGK = self.cache.layer_keys[layer], self.cache.layer_values[layer]
        keys_PGK[start:end], values_PGK[start:end] = k_TGK, v_TGK
        k_GSK = keys_PGK[self.extent.start : end].transpose(0, 1).float()
        v_GSK = values_PGK[self.extent.start : end].transpose(0, 1).float()
        mask_TS = _mask_future(n_rows, self.past, q_THK.device) if self.past else None
        out_BHTK = F.scaled_dot_product_attention(
            q_THK.transpose(0, 1).unsqueeze(0),
            k_GSK.unsqueeze(0),
            v_GSK.unsqueeze(0),
            attn_mask=mask_TS,
            is_causal=mask_TS is None,
            enable_gqa=q_THK.shape[1] != k_TGK.shape[1],
        )
        return out_BHTK.squeeze(0).transpose(0, 1)


def _mask_future(n_rows: int, past: int, device: torch.device) -> Tensor:
    """True where row t may look: at the past and at rows up to itself, T S."""
    return torch.ones(n_rows, past + n_rows, dtype=torch.bool, device=device).tril_(past)


@dataclass(frozen=True)
class Running:
    """A row of the decoding batch: where its sequence is kept, and its length without the new token."""

    row: int
    extent: Extent
    past: int


class DecodeAttention:
    """One new token for each running sequence; the batch's other rows compute nothing and get zeros."""

    def __init__(self, cache: KVCache, running: Sequence[Running], *, rows: int) -> None:
        self._cache = cache
        places = [cache.scratch] * rows
        for one in running:
            places[one.row] = one.extent.start + one.past
        self._places_N = torch.tensor(places, device=cache.keys_LPGK.device)
        keys = [cache.keys(one.extent, one.past + 1) for one in running]
        values = [cache.values(one.extent, one.past + 1) for one in running]
        self._rows = [one.row for one in running]
        self._keys = list(zip(*keys, strict=True))
        self._values = list(zip(*values, strict=True))

    def __call__(self, layer: int, q_NHK: Tensor, k_NGK: Tensor, v_NGK: Tensor) -> Tensor:
        """Attention output, N H K in float32; writes each row's key and value at its place."""
        n_kv_heads, head_width = k_NGK.shape[1:]
        dtype = self._cache.keys_LPGK.dtype
        self._cache.layer_keys[layer].index_copy_(0, self._places_N, k_NGK.to(dtype))
        self._cache.layer_values[layer].index_copy_(0, self._places_N, v_NGK.to(dtype))
        queries = (q_NHK * head_width**-0.5).unflatten(1, (n_kv_heads, -1)).unbind(0)
        out_NHK = torch.zeros_like(q_NHK)
        outs = out_NHK.unflatten(1, (n_kv_heads, -1)).unbind(0)
        for row, k_GKS, v_GSK in zip(self._rows, self._keys[layer], self._values[layer], strict=True):
            weights_GJS = torch.softmax(torch.bmm(queries[row], k_GKS.float()), dim=-1)
            torch.bmm(weights_GJS, v_GSK.float(), out=outs[row])
        return out_NHK
