"""Adapters in memory: loaded on first use, checked, kept while there is room.

Shapes: I in and O out features of a linear, R rank, C ranks of all linears that read the same input.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from tunery.blobs.artefacts import IncompleteArtefact, verify
from tunery.modeling.lora import Adapter, LoraPair, load_adapter
from tunery.types.sampling import AdapterRef

_SITES = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up", "up_proj": "gate_up"}


class UnusableAdapter(Exception):
    """The adapter cannot answer; the message says why, without paths, so that it may be shown to a caller."""


@dataclass(frozen=True)
class Factor:
    """An adapter's share of one linear."""

    inner_IC: Tensor
    """A of this linear and of those that read the same input, transposed and side by side."""
    columns: slice
    """This linear's share of `inner_IC`."""
    outer_RO: Tensor
    """B, transposed and scaled by alpha / rank."""


@dataclass(frozen=True, eq=False)
class ResidentAdapter:
    """One adapter laid out for decoding; `adapter` shares its memory and serves the prompts."""

    sha256: str
    adapter: Adapter
    factors: Mapping[str, Factor]
    """By module path, in the base's order."""

    @property
    def weight_bytes(self) -> int:
        return 4 * self.adapter.parameter_count()


class AdapterCache:
    """Adapters by digest, the least recently used leaving first; those that running sequences use never leave."""

    def __init__(self, shapes: Mapping[str, tuple[int, int]], *, adapters_max: int, device: torch.device) -> None:
        self._shapes = shapes
        self._adapters_max = adapters_max
        self._device = device
        self._resident: OrderedDict[str, ResidentAdapter] = OrderedDict()

    def __len__(self) -> int:
        return len(self._resident)

    def fetch(self, ref: AdapterRef, *, in_use: Iterable[str]) -> ResidentAdapter:
        """The adapter, from memory or from its folder. Raises UnusableAdapter."""
        if ref.sha256 not in self._resident:
            self._resident[ref.sha256] = _load(ref, self._shapes, self._device)
            self._evict({ref.sha256, *in_use})
        self._resident.move_to_end(ref.sha256)
        return self._resident[ref.sha256]

    def clear(self) -> None:
        """Forget all adapters."""
        self._resident.clear()

    def _evict(self, kept: set[str]) -> None:
        surplus = len(self._resident) - self._adapters_max
        for sha256 in [one for one in self._resident if one not in kept][: max(surplus, 0)]:
            del self._resident[sha256]


def _load(ref: AdapterRef, shapes: Mapping[str, tuple[int, int]], device: torch.device) -> ResidentAdapter:
    folder = Path(ref.path)
    try:
        verify(folder, sha256=ref.sha256)
        adapter = load_adapter(folder, device=device)
    except IncompleteArtefact as error:
        raise UnusableAdapter("its files are missing or damaged") from error
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise UnusableAdapter("its files are not a LoRA adapter in PEFT's format that this server can read") from error
    for path, pair in adapter.pairs.items():
        if path not in shapes or shapes[path] != (pair.b.shape[0], pair.a.shape[1]):
            raise UnusableAdapter("it was trained on another base model")
        if not (pair.a.isfinite().all() and pair.b.isfinite().all()):
            raise UnusableAdapter("its weights are not finite numbers")
    return lay_out(adapter, sha256=ref.sha256)


def lay_out(adapter: Adapter, *, sha256: str) -> ResidentAdapter:
    """The adapter with A of all linears that read one input side by side, contiguous for rows times matrix.

    The scaling goes into B once and for all, so what decodes and what computes prompts use the same numbers.
    """
    sites: dict[str, list[str]] = {}
    for path in adapter.pairs:
        sites.setdefault(name_site(path), []).append(path)
    factors: dict[str, Factor] = {}
    for paths in sites.values():
        inner_IC = torch.cat([adapter.pairs[path].a.T for path in paths], dim=1)
        start = 0
        for path in paths:
            end = start + adapter.pairs[path].a.shape[0]
            outer_RO = (adapter.pairs[path].b.T * adapter.scaling).contiguous()
            factors[path] = Factor(inner_IC, slice(start, end), outer_RO)
            start = end
    pairs = {
        path: LoraPair(factor.inner_IC[:, factor.columns].T, factor.outer_RO.T) for path, factor in factors.items()
    }
    laid_out = Adapter(pairs=pairs, rank=adapter.rank, alpha=float(adapter.rank))
    return ResidentAdapter(sha256=sha256, adapter=laid_out, factors=factors)


def name_site(path: str) -> str:
    """What a linear reads: q, k and v of a layer share their input, and so do gate and up."""
    parent, _, name = path.rpartition(".")
    return f"{parent}.{_SITES[name]}" if name in _SITES else path
