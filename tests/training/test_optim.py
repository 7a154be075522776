"""Schedules against transformers' of the same names, clipping and AdamW against a sum worked out by hand."""

import math

import pytest
import torch
from transformers import get_scheduler

from tunery.training.optim import Optimizer, learning_rate
from tunery.training.spec import OptimizerSpec


@pytest.mark.parametrize(
    ("name", "theirs"), [("linear", "linear"), ("cosine", "cosine"), ("constant", "constant_with_warmup")]
)
@pytest.mark.parametrize("warmup_steps", [0, 3])
def test_schedule_equals_transformers(name: str, theirs: str, warmup_steps: int) -> None:
    spec = OptimizerSpec(learning_rate=0.5, schedule=name, warmup_steps=warmup_steps)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = get_scheduler(theirs, optimizer, num_warmup_steps=warmup_steps, num_training_steps=12)
    for step in range(1, 13):
        assert learning_rate(spec, step=step, total_steps=12) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_first_step_moves_every_weight_by_the_rate_against_its_gradient() -> None:
    """AdamW from zero moments: m / sqrt(v) is the gradient's sign, so w <- w (1 - rate * decay) - rate * sign(g)."""
    matrix = torch.tensor([[1.0, -2.0]], requires_grad=True)
    vector = torch.tensor([3.0], requires_grad=True)
    optimizer = Optimizer({"m": matrix, "v": vector}, OptimizerSpec(learning_rate=1.0, weight_decay=0.5))
    matrix.grad, vector.grad = torch.tensor([[0.3, -0.2]]), torch.tensor([0.1])
    norm = optimizer.step(learning_rate=0.1)
    assert norm == pytest.approx(math.sqrt(0.09 + 0.04 + 0.01), rel=1e-6)
    assert matrix.detach().tolist() == [pytest.approx([0.95 - 0.1, -1.9 + 0.1], rel=1e-5)]
    assert vector.item() == pytest.approx(2.9, rel=1e-5)
    assert matrix.grad is None


def test_gradient_over_the_limit_is_scaled_down() -> None:
    """Norm 5 clipped to 1: the first moment is (1 - beta1) * g / 5."""
    weight = torch.zeros(1, 2, requires_grad=True)
    optimizer = Optimizer({"w": weight}, OptimizerSpec(learning_rate=0.1, grad_norm_max=1.0))
    weight.grad = torch.tensor([[3.0, 4.0]])
    assert optimizer.step(learning_rate=0.1) == pytest.approx(5.0)
    assert optimizer.state()["exp_avg/w"].tolist() == [pytest.approx([0.06, 0.08], rel=1e-5)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_gradient_that_is_not_finite_changes_nothing(bad: float) -> None:
    weight = torch.ones(1, 2, requires_grad=True)
    optimizer = Optimizer({"w": weight}, OptimizerSpec(learning_rate=0.1))
    weight.grad = torch.tensor([[1.0, 1.0]])
    optimizer.step(learning_rate=0.1)
    before, moments = weight.detach().clone(), {k: v.clone() for k, v in optimizer.state().items()}
    weight.grad = torch.tensor([[1.0, bad]])
    assert not math.isfinite(optimizer.step(learning_rate=0.1))
    assert torch.equal(weight.detach(), before)
    assert all(torch.equal(optimizer.state()[key], value) for key, value in moments.items())


def test_state_carries_over_to_another_optimizer() -> None:
    weights = [torch.ones(3, 5, requires_grad=True) for _ in range(2)]
    spec = OptimizerSpec(learning_rate=0.1)
    first, second = (Optimizer({"w": weight}, spec) for weight in weights)
    gradient = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    for _ in range(3):
        weights[0].grad = gradient.clone()
        first.step(learning_rate=0.1)
    with torch.no_grad():
        weights[1].copy_(weights[0])
    second.load_state(first.state())
    for weight, optimizer in zip(weights, (first, second), strict=True):
        weight.grad = gradient * 2
        optimizer.step(learning_rate=0.05)
    assert torch.equal(weights[0], weights[1])
    assert first.state()["exp_avg/w"].data_ptr() != second.state()["exp_avg/w"].data_ptr()
