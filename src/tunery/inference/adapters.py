"""Adapters in memory: loaded on first use, checked, kept while there is room, and mixed in one batch of rows.

Shapes: N rows, I in and O out features of a linear, R rank, C ranks of all linears that read the same input.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
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
    """B, transposed."""


@dataclass(frozen=True, eq=False)
class ResidentAdapter:
    """One adapter laid out for decoding; `adapter` shares its memory and serves the prompts."""

    sha256: str
    adapter: Adapter
    factors: Mapping[str, Factor]


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
    """The adapter with A of all linears that read one input side by side, contiguous for rows times matrix."""
    sites: dict[str, list[str]] = {}
    for path in adapter.pairs:
        parent, _, name = path.rpartition(".")
        sites.setdefault(f"{parent}.{_SITES[name]}" if name in _SITES else path, []).append(path)
    factors: dict[str, Factor] = {}
    for paths in sites.values():
        inner_IC = torch.cat([adapter.pairs[path].a.T for path in paths], dim=1)
        start = 0
        for path in paths:
            end = start + adapter.pairs[path].a.shape[0]
            factors[path] = Factor(inner_IC, slice(start, end), adapter.pairs[path].b.T.contiguous())
            start = end
    pairs = {
        path: LoraPair(factor.inner_IC[:, factor.columns].T, factor.outer_RO.T) for path, factor in factors.items()
    }
    laid_out = Adapter(pairs=pairs, rank=adapter.rank, alpha=adapter.alpha)
    return ResidentAdapter(sha256=sha256, adapter=laid_out, factors=factors)


class _Share:
    """One adapter's part in a batch: which rows are not its own, and A x of the input it saw last."""

    def __init__(self, resident: ResidentAdapter, foreign_N1: Tensor) -> None:
        self.factors = resident.factors
        self.scaling = resident.adapter.scaling
        self._foreign_N1 = foreign_N1
        self._seen: tuple[Tensor, Tensor] | None = None
        self._inner_NC = foreign_N1

    def reduce(self, x_NI: Tensor, factor: Factor) -> Tensor:
        """A x on the adapter's own rows, zero on all others, N R. Linears in a row that read one input share it."""
        if self._seen is None or self._seen[0] is not x_NI or self._seen[1] is not factor.inner_IC:
            self._seen = (x_NI, factor.inner_IC)
            self._inner_NC = torch.mm(x_NI.float(), factor.inner_IC).masked_fill_(self._foreign_N1, 0.0)
        return self._inner_NC[:, factor.columns]


class RowAdapters:
    """The `lora` of a decoding batch: each row has its own adapter, or none.

    Every adapter is multiplied with all rows of the batch, so that its products always have the same shape, and is
    kept from foreign rows by a fill instead of a product: zero times an overflow would not be zero.
    """

    def __init__(self, by_row: Sequence[ResidentAdapter | None], *, device: torch.device) -> None:
        residents = {resident.sha256: resident for resident in by_row if resident is not None}
        self._shares = [
            _Share(
                resident,
                torch.tensor([[row is not resident] for row in by_row], device=device),
            )
            for _, resident in sorted(residents.items())
        ]

    def linear(self, path: str, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        """Base plus each row's adapter at module `path`, N O."""
        out_NO = F.linear(x_NI, weight_OI, bias_O)
        for share in self._shares:
            if path not in share.factors:
                continue
            factor = share.factors[path]
            inner_NR = share.reduce(x_NI, factor)
            if out_NO.dtype == inner_NR.dtype:
                out_NO.addmm_(inner_NR, factor.outer_RO, alpha=share.scaling)
            else:
                out_NO.add_(inner_NR @ factor.outer_RO, alpha=share.scaling)
        return out_NO
