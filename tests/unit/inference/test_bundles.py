"""Rows of several adapters in one batch: each gets its own adapter, bundled or not, to the bit."""

from pathlib import Path

import pytest
import torch

from tunery.inference.adapters import ResidentAdapter, lay_out
from tunery.inference.bundles import Bundle, RowAdapters, make_bundles, probe_bundles
from tunery.modeling.llama import CausalLM
from tunery.modeling.lora import Adapter, LoraPair, LoraSegments, Segment, load_adapter
from tunery.types.sampling import AdapterRef

CPU = torch.device("cpu")
PATH = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def residents(adapters: list[AdapterRef]) -> list[ResidentAdapter]:
    return [lay_out(load_adapter(Path(ref.path)), sha256=ref.sha256) for ref in adapters]


@pytest.fixture(scope="module")
def by_row(residents: list[ResidentAdapter]) -> list[ResidentAdapter | None]:
    """Every adapter and the base in turn."""
    return [[*residents, None][row % 5] for row in range(16)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("together", [True, False])
def test_each_row_gets_its_own_adapter(
    base: CausalLM, by_row: list[ResidentAdapter | None], together: bool, dtype: torch.dtype
) -> None:
    """Against the segments that training uses, row by row, over linears that share an input and others."""
    torch.manual_seed(3)
    rows = RowAdapters(by_row, make_bundles(by_row, together=together), device=CPU)
    segments = LoraSegments([Segment(1, one.adapter if one is not None else None) for one in by_row])
    inputs = {n_in: torch.randn(16, n_in).to(dtype) for n_in in (64, 96)}
    for path, (n_out, n_in) in base.linear_shapes.items():
        weight_OI = torch.randn(n_out, n_in).to(dtype)
        expected_NO = segments.linear(path, inputs[n_in], weight_OI, None)
        out_NO = rows.linear(path, inputs[n_in], weight_OI, None)
        torch.testing.assert_close(out_NO, expected_NO, rtol=1e-5 if dtype == torch.float32 else 2e-2, atol=1e-4)


def test_bundled_rows_have_the_bits_that_they_have_alone(
    base: CausalLM, residents: list[ResidentAdapter], by_row: list[ResidentAdapter | None]
) -> None:
    assert probe_bundles(base.linear_shapes, rows=16, device=CPU), "this CPU adds up bundles in another order"
    mixed = RowAdapters(by_row, make_bundles(by_row, together=True), device=CPU)
    for path, (n_out, n_in) in base.linear_shapes.items():
        x_NI, weight_OI = torch.randn(16, n_in), torch.randn(n_out, n_in)
        together_NO = mixed.linear(path, x_NI, weight_OI, None)
        for resident in residents:
            alone_NO = RowAdapters([resident] * 16, [Bundle([resident])], device=CPU).linear(
                path, x_NI, weight_OI, None
            )
            own = [row for row, one in enumerate(by_row) if one is resident]
            assert torch.equal(together_NO[own], alone_NO[own])


def test_bundles_are_few_and_bounded_by_rank(residents: list[ResidentAdapter]) -> None:
    wide = [ResidentAdapter(f"{i}", Adapter(pairs={}, rank=48, alpha=1.0), factors={}) for i in range(5)]
    assert [len(bundle.residents) for bundle in make_bundles(wide, together=True)] == [2, 2, 1]
    assert [len(bundle.residents) for bundle in make_bundles(wide, together=False)] == [1] * 5
    assert [len(bundle.residents) for bundle in make_bundles([*residents, None, *residents], together=True)] == [4]
    assert make_bundles([None] * 16, together=True) == []


def test_bundle_of_one_copies_nothing(residents: list[ResidentAdapter]) -> None:
    (bundle,) = make_bundles([residents[0]] * 16, together=True)
    for path, factor in residents[0].factors.items():
        assert bundle.parts[path].factor.inner_IC is factor.inner_IC
        assert bundle.parts[path].factor.outer_RO is factor.outer_RO


def test_one_input_after_another_is_not_mistaken_for_it(residents: list[ResidentAdapter]) -> None:
    """The first product is kept for linears that share an input, not for another input or another layer."""
    rows = RowAdapters([residents[0]] * 16, [Bundle([residents[0]])], device=CPU)
    weight_OI = torch.zeros(64, 64)
    one, two = torch.randn(16, 64), torch.randn(16, 64)
    first = rows.linear(PATH, one, weight_OI, None)
    second = rows.linear(PATH, two, weight_OI, None)
    assert not torch.equal(first, second)
    assert torch.equal(rows.linear(PATH, one, weight_OI, None), first)
    assert not torch.equal(rows.linear("model.layers.1.self_attn.q_proj", one, weight_OI, None), first)


@pytest.mark.parametrize("together", [True, False])
def test_overflow_in_one_adapter_leaves_other_rows_alone(together: bool) -> None:
    """Weights of 3e38 are finite but overflow in the product; zero times that would be NaN in every row."""
    huge = Adapter(pairs={PATH: LoraPair(torch.full((4, 64), 3e38), torch.ones(64, 4))}, rank=4, alpha=4.0)
    tame = Adapter(pairs={PATH: LoraPair(torch.ones(4, 64), torch.ones(64, 4))}, rank=4, alpha=4.0)
    broken, fine = lay_out(huge, sha256="broken"), lay_out(tame, sha256="fine")
    by_row = [broken] + [fine] * 15
    x_NI, weight_OI = torch.ones(16, 64), torch.zeros(64, 64)
    out_NO = RowAdapters(by_row, make_bundles(by_row, together=together), device=CPU).linear(
        PATH, x_NI, weight_OI, None
    )
    alone_NO = RowAdapters([fine] * 16, [Bundle([fine])], device=CPU).linear(PATH, x_NI, weight_OI, None)
    assert out_NO[0].isinf().all()
    assert torch.equal(out_NO[1:], alone_NO[1:])
