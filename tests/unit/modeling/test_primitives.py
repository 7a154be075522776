"""Norm, gate and rotation against plain autograd, and each row's bits against the same row among others."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tunery.modeling.primitives import rms_norm, rotate, swiglu


def draw(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def norm_plainly(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, 1e-5)


def gate_plainly(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


def rotate_plainly(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin


def angles(rows: int) -> tuple[Tensor, Tensor]:
    angle = draw(rows, 1, 4, seed=9).repeat(1, 1, 2)
    return angle.cos(), angle.sin()


def test_norm_equals_plain_autograd() -> None:
    x, weight = draw(20, 24, seed=1, scale=3.0).requires_grad_(), draw(24, seed=2).requires_grad_()
    ours = rms_norm(x, weight, 1e-5)
    torch.testing.assert_close(ours, norm_plainly(x, weight))
    cotangent = draw(20, 24, seed=3)
    mine = torch.autograd.grad(ours, (x, weight), cotangent)
    theirs = torch.autograd.grad(norm_plainly(x, weight), (x, weight), cotangent)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_gate_equals_plain_autograd() -> None:
    gate, up = draw(20, 24, seed=1, scale=4.0).requires_grad_(), draw(20, 24, seed=2).requires_grad_()
    ours = swiglu(gate, up)
    torch.testing.assert_close(ours, gate_plainly(gate, up))
    cotangent = draw(20, 24, seed=3)
    mine = torch.autograd.grad(ours, (gate, up), cotangent)
    theirs = torch.autograd.grad(gate_plainly(gate, up), (gate, up), cotangent)
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_gate_of_extreme_inputs_is_finite() -> None:
    gate = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], requires_grad=True)
    out = swiglu(gate, torch.ones(5))
    out.sum().backward()
    assert torch.equal(out.detach(), torch.tensor([0.0, 0.0, 0.0, 100.0, 1e4]))
    assert gate.grad is not None
    assert torch.isfinite(gate.grad).all()


def test_rotation_equals_plain_autograd_and_keeps_lengths() -> None:
    x = draw(20, 3, 8, seed=1).requires_grad_()
    cos, sin = angles(20)
    ours = rotate(x, cos, sin)
    torch.testing.assert_close(ours, rotate_plainly(x, cos, sin))
    torch.testing.assert_close(ours.norm(dim=-1), x.norm(dim=-1))
    cotangent = draw(20, 3, 8, seed=3)
    mine = torch.autograd.grad(ours, x, cotangent)
    torch.testing.assert_close(mine, torch.autograd.grad(rotate_plainly(x, cos, sin), x, cotangent))


def norm_rows(rows: slice) -> tuple[Tensor, Tensor]:
    x = draw(200, 24, seed=1)[rows].clone().requires_grad_()
    out = rms_norm(x, draw(24, seed=2), 1e-5)
    return out, torch.autograd.grad(out, x, draw(200, 24, seed=3)[rows])[0]


def gate_rows(rows: slice) -> tuple[Tensor, Tensor]:
    gate = draw(200, 24, seed=1, scale=4.0)[rows].clone().requires_grad_()
    out = swiglu(gate, draw(200, 24, seed=2)[rows].clone())
    return out, torch.autograd.grad(out, gate, draw(200, 24, seed=3)[rows])[0]


def rotate_rows(rows: slice) -> tuple[Tensor, Tensor]:
    x = draw(200, 3, 8, seed=1)[rows].clone().requires_grad_()
    cos, sin = angles(200)
    out = rotate(x, cos[rows], sin[rows])
    return out, torch.autograd.grad(out, x, draw(200, 3, 8, seed=3)[rows])[0]


@pytest.mark.parametrize("compute", [norm_rows, gate_rows, rotate_rows])
@pytest.mark.parametrize("rows", [slice(0, 1), slice(3, 4), slice(0, 25), slice(7, 40), slice(150, 200)])
def test_a_rows_bits_do_not_depend_on_its_neighbours(
    compute: Callable[[slice], tuple[Tensor, Tensor]], rows: slice
) -> None:
    everything, alone = compute(slice(0, 200)), compute(rows)
    assert torch.equal(everything[0][rows], alone[0])
    assert torch.equal(everything[1][rows], alone[1])


def test_half_precision_is_computed_in_float32() -> None:
    x, weight = draw(20, 24, seed=1).bfloat16(), draw(24, seed=2).bfloat16()
    expected = rms_norm(x.float(), weight.float(), 1e-5).bfloat16()
    assert torch.equal(rms_norm(x, weight, 1e-5), expected)
    assert torch.equal(swiglu(x, x), (F.silu(x.float()) * x.float()).bfloat16())
    cos, sin = angles(20)
    assert rotate(x.view(20, 3, 8), cos, sin).dtype == torch.float32
