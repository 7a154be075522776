"""Keys and values of running sequences in one bounded pool, and of ended prompts for as long as nobody needs the room.

A sequence reserves one contiguous extent for all it can ever need (prompt and longest answer), so a running sequence
is never preempted and nothing is ever recomputed. A prompt is computed in chunks of fixed size from its start, so a
chunk's bits depend on the adapter and on the tokens up to its end alone: copying a chunk from another sequence with
the same beginning gives exactly what computing it again would give. Keys and values of generated tokens come from
decoding, whose bits differ from a prompt's, and are never shared. The pool is reserved as address space; the system
provides its memory when it is first written.

Shapes: L layers, P tokens of the pool, G key and value heads, K head width, S tokens of one sequence so far, D width.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tunery.modeling.config import ModelConfig

CHUNK_TOKENS = 64


def round_up(tokens: int, multiple: int) -> int:
    return -(-tokens // multiple) * multiple


@dataclass(eq=False, kw_only=True)
class Extent:
    """`capacity` consecutive tokens of the pool, owned by one sequence or, when idle, by nobody."""

    start: int
    capacity: int
    adapter_key: str | None
    """Digest of the adapter that computed the contents; None is the base."""
    prompt: list[int] = field(default_factory=list)
    """The prompt's tokens whose keys and values lie at the extent's start."""
    final_D: Tensor | None = None
    """State of the last prompt token, there once `prompt` is whole."""
    length: int = 0
    """Tokens with keys and values: the prompt's so far, then the answer's."""
    idle: bool = False
    last_used: int = 0


class KVCache:
    """The pool. `tokens_max` bounds its memory: L * 2 * G * K values per token."""

    def __init__(self, config: ModelConfig, *, tokens_max: int, dtype: torch.dtype, device: torch.device) -> None:
        if tokens_max < CHUNK_TOKENS:
            raise ValueError(f"a cache of {tokens_max} tokens is smaller than one chunk of {CHUNK_TOKENS}")
        self.tokens_max = tokens_max // CHUNK_TOKENS * CHUNK_TOKENS
        shape = (config.n_layers, self.tokens_max + 1, config.n_kv_heads, config.head_width)
        self.keys_LPGK = torch.empty(shape, dtype=dtype, device=device)
        self.values_LPGK = torch.empty(shape, dtype=dtype, device=device)
        self.layer_keys = self.keys_LPGK.unbind(0)
        self.layer_values = self.values_LPGK.unbind(0)
        self._keys_LGKP = self.keys_LPGK.permute(0, 2, 3, 1)
        self._values_LGPK = self.values_LPGK.transpose(1, 2)
        self._extents: list[Extent] = []
        self._clock = 0

    @property
    def scratch(self) -> int:
        """The token of the pool where rows without a sequence write; never read."""
        return self.tokens_max

    @property
    def reserved_tokens(self) -> int:
        """Tokens held by running sequences."""
        return sum(extent.capacity for extent in self._extents if not extent.idle)

    def reserve(self, tokens: int, *, adapter_key: str | None) -> Extent | None:
        """Room for a sequence, or None as long as running ones hold too much; idle extents give way, oldest first."""
        capacity = round_up(tokens, CHUNK_TOKENS)
        if self.reserved_tokens + capacity > self.tokens_max:
            return None
        while (start := self._find_gap(capacity)) is None:
            idle = [extent for extent in self._extents if extent.idle]
            if idle:
                self._extents.remove(min(idle, key=lambda extent: extent.last_used))
            else:
                self._compact()
        extent = Extent(start=start, capacity=capacity, adapter_key=adapter_key)
        self._extents.append(extent)
        self._touch(extent)
        return extent

    def release(self, extent: Extent) -> None:
        """The sequence has ended; its prompt stays for others to copy until the room is needed."""
        if extent.prompt:
            extent.idle = True
            extent.length = len(extent.prompt)
            extent.capacity = round_up(extent.length, CHUNK_TOKENS)
            self._touch(extent)
        else:
            self._extents.remove(extent)

    def clear(self) -> None:
        """Forget all extents."""
        self._extents.clear()

    def adopt_prefix(self, extent: Extent, prompt: list[int]) -> int:
        """Copy the longest shared beginning of `prompt` into the empty `extent`; answers how many tokens it has now.

        Whole chunks are shared, and a whole prompt together with its final state. Short of that, the chunk with the
        last prompt token is left to be computed, because its final state is needed.
        """
        peers = [e for e in self._extents if e is not extent and e.adapter_key == extent.adapter_key]
        twin = next((peer for peer in peers if peer.final_D is not None and peer.prompt == prompt), None)
        if twin is not None:
            source, shared = twin, len(prompt)
        else:
            counted = [(_count_shared(peer.prompt, prompt), peer) for peer in peers]
            shared, source = max(counted, key=lambda pair: pair[0], default=(0, extent))
        if shared:
            self._copy(source.start, extent.start, shared)
            extent.prompt = prompt[:shared]
            extent.length = shared
            extent.final_D = source.final_D if source is twin else None
            self._touch(source)
        return shared

    def keys(self, extent: Extent, tokens: int) -> tuple[Tensor, ...]:
        """Each layer's first `tokens` keys of the extent as views, G K S."""
        return self._keys_LGKP.narrow(3, extent.start, tokens).unbind(0)

    def values(self, extent: Extent, tokens: int) -> tuple[Tensor, ...]:
        """Each layer's first `tokens` values of the extent as views, G S K."""
        return self._values_LGPK.narrow(2, extent.start, tokens).unbind(0)

    def _find_gap(self, capacity: int) -> int | None:
        start = 0
        for extent in sorted(self._extents, key=lambda extent: extent.start):
            if extent.start - start >= capacity:
                return start
            start = extent.start + extent.capacity
        return start if self.tokens_max - start >= capacity else None

    def _compact(self) -> None:
        """Move all extents to the pool's start, so that what is free is one gap."""
        start = 0
        for extent in sorted(self._extents, key=lambda extent: extent.start):
            if extent.start > start:
                self._copy(extent.start, start, extent.length)
                extent.start = start
            start += extent.capacity

    def _copy(self, source: int, target: int, tokens: int) -> None:
        overlap = source < target + tokens and target < source + tokens
        for pool_LPGK in (self.keys_LPGK, self.values_LPGK):
            moved = pool_LPGK.narrow(1, source, tokens)
            pool_LPGK.narrow(1, target, tokens).copy_(moved.clone() if overlap else moved)

    def _touch(self, extent: Extent) -> None:
        self._clock += 1
        extent.last_used = self._clock


def _count_shared(held: list[int], prompt: list[int]) -> int:
    """Tokens in the whole chunks at the start of both, the chunk of the prompt's last token not counted."""
    end = min(len(held), len(prompt) - 1) // CHUNK_TOKENS * CHUNK_TOKENS
    shared = 0
    while shared < end and held[shared : shared + CHUNK_TOKENS] == prompt[shared : shared + CHUNK_TOKENS]:
        shared += CHUNK_TOKENS
    return shared
