"""Several adapters in one batch of rows, at few operations a step.

A decoding step of a small model costs about as much for each operation as for its arithmetic, so adapters are
multiplied in bundles: A of several side by side, B of several on top of each other, and between the two products every
row keeps only what its own adapter computed. Foreign columns are filled with zeros, not multiplied by zero, because
zero times an overflow would not be zero. Whether a row's bits are then those of its adapter alone rests on how the
matrix library adds up; a probe with the model's shapes decides at start, and where it fails each adapter is a bundle.

Shapes: N rows, I in and O out features of a linear, R ranks of a bundle at one linear, C ranks of all its linears that
read the same input.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tunery.inference.adapters import Factor, ResidentAdapter, lay_out, name_site
from tunery.modeling.lora import Adapter, LoraPair

_BUNDLE_RANKS_MAX = 128
_BUNDLE_BYTES_MAX = 32 * 1024 * 1024
_PROBE_RANKS = (16, 3, 8, 16, 4, 32, 16, 33)


@dataclass(frozen=True)
class _Part:
    """A bundle's share of one linear; `owners_C` names the adapter (its place in the bundle) of each inner column."""

    factor: Factor
    owners_C: Tensor


class Bundle:
    """Adapters that are multiplied together; copies their weights unless there is only one."""

    def __init__(self, residents: Sequence[ResidentAdapter]) -> None:
        self.residents = tuple(residents)
        sites: dict[str, list[str]] = {}
        for path in {path: None for resident in residents for path in resident.factors}:
            sites.setdefault(name_site(path), []).append(path)
        self.parts: dict[str, _Part] = {}
        for paths in sites.values():
            self._join(paths)

    def _join(self, paths: list[str]) -> None:
        """Columns of a site by linear, then by adapter, so that each linear's are next to each other."""
        found = [[(i, r.factors[path]) for i, r in enumerate(self.residents) if path in r.factors] for path in paths]
        inner = [factor.inner_IC[:, factor.columns] for factors in found for _, factor in factors]
        owners = [i for factors in found for i, factor in factors for _ in range(factor.outer_RO.shape[0])]
        inner_IC = _join_tensors(inner, dim=1) if len(self.residents) > 1 else found[0][0][1].inner_IC
        owners_C = torch.tensor(owners, device=inner_IC.device)
        start = 0
        for path, factors in zip(paths, found, strict=True):
            outer_RO = _join_tensors([factor.outer_RO for _, factor in factors], dim=0)
            columns = slice(start, start + outer_RO.shape[0])
            self.parts[path] = _Part(Factor(inner_IC, columns, outer_RO), owners_C)
            start += outer_RO.shape[0]


def _join_tensors(tensors: list[Tensor], *, dim: int) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=dim)


class _Share:
    """A bundle over a batch's rows: which columns each row may keep, and A x of the input seen last."""

    def __init__(self, bundle: Bundle, by_row: Sequence[ResidentAdapter | None], device: torch.device) -> None:
        self.parts = bundle.parts
        places = {resident.sha256: i for i, resident in enumerate(bundle.residents)}
        of_row = [places[one.sha256] if one is not None and one.sha256 in places else -1 for one in by_row]
        self._places_N1 = torch.tensor(of_row, device=device).unsqueeze(-1)
        self._foreign: dict[int, Tensor] = {}
        self._seen: tuple[Tensor, Tensor] | None = None
        self._inner_NC = self._places_N1

    def reduce(self, x_NI: Tensor, part: _Part) -> Tensor:
        """A x where row and column belong together, else zero, N R. Linears in a row that read one input share it."""
        if self._seen is None or self._seen[0] is not x_NI or self._seen[1] is not part.factor.inner_IC:
            self._seen = (x_NI, part.factor.inner_IC)
            inner_NC = torch.mm(x_NI.float(), part.factor.inner_IC)
            self._inner_NC = inner_NC.masked_fill_(self._find_foreign(part), 0.0)
        return self._inner_NC[:, part.factor.columns]

    def _find_foreign(self, part: _Part) -> Tensor:
        key = id(part.owners_C)
        if key not in self._foreign:
            self._foreign[key] = self._places_N1 != part.owners_C
        return self._foreign[key]


class RowAdapters:
    """The `lora` of a decoding batch: each row has its own adapter, or none.

    Every bundle is multiplied with all rows, so that its products have the same number of rows in every batch.
    """

    def __init__(
        self, by_row: Sequence[ResidentAdapter | None], bundles: Sequence[Bundle], *, device: torch.device
    ) -> None:
        self._shares = [_Share(bundle, by_row, device) for bundle in bundles]

    def linear(self, path: str, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        """Base plus each row's adapter at module `path`, N O."""
        out_NO = F.linear(x_NI, weight_OI, bias_O)
        for share in self._shares:
            if path not in share.parts:
                continue
            part = share.parts[path]
            inner_NR = share.reduce(x_NI, part)
            if out_NO.dtype == inner_NR.dtype:
                out_NO.addmm_(inner_NR, part.factor.outer_RO)
            else:
                out_NO.add_(inner_NR @ part.factor.outer_RO)
        return out_NO


def make_bundles(by_row: Sequence[ResidentAdapter | None], *, together: bool) -> list[Bundle]:
    """The batch's adapters, each alone or in as few bundles as ranks and memory allow; always the same for one set."""
    residents = {resident.sha256: resident for resident in by_row if resident is not None}
    groups: list[list[ResidentAdapter]] = []
    for _, resident in sorted(residents.items()):
        if together and groups and _fits([*groups[-1], resident]):
            groups[-1].append(resident)
        else:
            groups.append([resident])
    return [Bundle(group) for group in groups]


def _fits(group: Iterable[ResidentAdapter]) -> bool:
    ranks = sum(resident.adapter.rank for resident in group)
    return ranks <= _BUNDLE_RANKS_MAX and sum(resident.weight_bytes for resident in group) <= _BUNDLE_BYTES_MAX


@torch.no_grad()
def probe_bundles(shapes: Mapping[str, tuple[int, int]], *, rows: int, device: torch.device) -> bool:
    """Whether bundled adapters give the bits that each gives alone, in linears of these shapes with `rows` rows."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).to(device)

    by_shape = {shape: path for path, shape in shapes.items()}
    residents = [
        lay_out(
            Adapter(
                pairs={path: LoraPair(draw(rank, n_in), draw(n_out, rank)) for (n_out, n_in), path in by_shape.items()},
                rank=rank,
                alpha=float(rank),
            ),
            sha256=f"{i:02d}",
        )
        for i, rank in enumerate(_PROBE_RANKS)
    ]
    by_row = [residents[row % len(residents)] for row in range(rows)]
    mixed = RowAdapters(by_row, [Bundle(residents)], device=device)
    for (n_out, n_in), path in by_shape.items():
        x_NI, weight_OI = draw(rows, n_in), draw(n_out, n_in)
        together_NO = mixed.linear(path, x_NI, weight_OI, None)
        for i, resident in enumerate(residents):
            alone = RowAdapters([resident] * rows, [Bundle([resident])], device=device)
            alone_NO = alone.linear(path, x_NI, weight_OI, None)
            if not torch.equal(alone_NO[i :: len(residents)], together_NO[i :: len(residents)]):
                return False
    return True
