"""The log-probability primitive against plain autograd, under every kind of loss that the methods put on it."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tunery.training import losses
from tunery.training.losses import cross_entropy, logprobs

N, D, V = 64, 16, 50
POSITIONS = torch.tensor([0, 3, 4, 17, 18, 19, 20, 33, 40, 41, 62, 63])
TARGETS = torch.tensor([1, 49, 7, 7, 0, 3, 12, 30, 30, 2, 8, 9])
WEIGHTS = torch.tensor([1.0, 0.5, 1.0, 2.0, 1.0, 1.0, 0.25, 1.0, 1.0, 1.0, 1.0, 1.0])


def supervised(logprobs_P: Tensor) -> Tensor:
    return cross_entropy(logprobs_P, WEIGHTS, weight_total=11.75)


def preference(logprobs_P: Tensor) -> Tensor:
    """DPO's -log sigmoid(beta * margin) over two completions (Rafailov et al. 2023)."""
    chosen, rejected = logprobs_P[:6].sum(), logprobs_P[6:].sum()
    return -F.logsigmoid(0.1 * ((chosen + 20.0) - (rejected + 21.0)))


def clipped_policy_gradient(logprobs_P: Tensor) -> Tensor:
    """PPO's clipped surrogate (Schulman et al. 2017) with some ratios beyond the clip."""
    old_P = logprobs_P.detach() + torch.linspace(-0.5, 0.5, len(logprobs_P))
    ratio_P = (logprobs_P - old_P).exp()
    advantage_P = torch.tensor([1.0, -1.0] * 6)
    return -torch.minimum(ratio_P * advantage_P, ratio_P.clamp(0.8, 1.2) * advantage_P).mean()


def draw(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    hidden_ND = torch.randn(N, D, generator=generator) * scale
    return hidden_ND.requires_grad_(), torch.randn(V, D, generator=generator).requires_grad_()


@pytest.mark.parametrize("loss", [supervised, preference, clipped_policy_gradient])
@pytest.mark.parametrize("chunk_bytes", [1, 4 * 1024 * 1024])
def test_value_and_gradients_equal_autograd(
    loss: Callable[[Tensor], Tensor], chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "_CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(losses, "_CHUNK_POSITIONS_MIN", 5)
    hidden_ND, head_VD = draw()
    ours_P, correct_P = logprobs(hidden_ND, head_VD, POSITIONS, TARGETS)
    ours = torch.autograd.grad(loss(ours_P), (hidden_ND, head_VD))

    scores_PV = hidden_ND[POSITIONS] @ head_VD.T
    theirs_P = scores_PV.log_softmax(-1).gather(-1, TARGETS[:, None]).squeeze(-1)
    theirs = torch.autograd.grad(loss(theirs_P), (hidden_ND, head_VD))

    torch.testing.assert_close(ours_P, theirs_P, atol=2e-6, rtol=1e-6)
    assert torch.equal(correct_P, scores_PV.argmax(-1) == TARGETS)
    for mine, other in zip(ours, theirs, strict=True):
        assert float((mine - other).norm()) <= 1e-6 * float(other.norm())


def test_gradient_is_exact_where_the_target_is_nearly_certain() -> None:
    """1 - p(y) is about 1e-9 here: taken as 1 minus a rounded softmax it would be 0."""
    hidden_ND = torch.tensor([[20.8]], requires_grad=True)
    head_VD = torch.tensor([[1.0], [0.0]])
    value_P, _ = logprobs(hidden_ND, head_VD, torch.tensor([0]), torch.tensor([0]))
    value_P.sum().backward()
    expected = 1.0 / (1.0 + torch.tensor(20.8, dtype=torch.float64).exp())
    assert hidden_ND.grad is not None
    assert float(hidden_ND.grad) == pytest.approx(float(expected), rel=0.05)


def test_large_logits_stay_finite() -> None:
    hidden_ND, head_VD = draw(scale=1e4)
    value_P, _ = logprobs(hidden_ND, head_VD, POSITIONS, TARGETS)
    (gradient,) = torch.autograd.grad(value_P.sum(), hidden_ND)
    assert torch.isfinite(value_P).all()
    assert torch.isfinite(gradient).all()


def test_nothing_supervised_gives_zero_loss_and_gradient() -> None:
    hidden_ND, head_VD = draw()
    none = torch.empty(0, dtype=torch.int64)
    value_P, correct_P = logprobs(hidden_ND, head_VD, none, none)
    loss = cross_entropy(value_P, torch.empty(0), weight_total=0.0)
    loss.backward()
    assert loss.item() == 0.0
    assert correct_P.shape == (0,)
    assert hidden_ND.grad is not None
    assert not hidden_ND.grad.any()


def test_groups_bits_do_not_depend_on_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_CHUNK_POSITIONS_MIN", 4)
    monkeypatch.setattr(losses, "_CHUNK_BYTES", 1)
    hidden_ND, head_VD = draw()
    head_VD = head_VD.detach()
    together_P, _ = logprobs(hidden_ND, head_VD, POSITIONS, TARGETS, groups=[7, 5])
    (together_grad,) = torch.autograd.grad(together_P.sum(), hidden_ND)
    for part in (slice(0, 7), slice(7, 12)):
        alone_P, _ = logprobs(hidden_ND, head_VD, POSITIONS[part], TARGETS[part])
        (alone_grad,) = torch.autograd.grad(alone_P.sum(), hidden_ND)
        assert torch.equal(together_P[part], alone_P)
        assert torch.equal(together_grad[POSITIONS[part]], alone_grad[POSITIONS[part]])


def test_chunks_equal_one_piece_in_bfloat16_over_many_additions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The head's gradient adds up in float32 inside, so many chunks round no more than one does."""
    hidden_ND, head_VD = draw()
    gradients = []
    for positions_min in (1, 64):
        monkeypatch.setattr(losses, "_CHUNK_POSITIONS_MIN", positions_min)
        monkeypatch.setattr(losses, "_CHUNK_BYTES", 1)
        half_VD = head_VD.detach().bfloat16().requires_grad_()
        value_P, _ = logprobs(hidden_ND.detach().bfloat16(), half_VD, POSITIONS, TARGETS)
        gradients += torch.autograd.grad(value_P.sum(), half_VD)
    torch.testing.assert_close(gradients[0], gradients[1], atol=0.0, rtol=2**-7)


def test_cross_entropy_is_a_hand_count() -> None:
    """-(1 * -2 + 0.5 * -4) / 3 = 4 / 3."""
    value = cross_entropy(torch.tensor([-2.0, -4.0]), torch.tensor([1.0, 0.5]), weight_total=3.0)
    assert float(value) == pytest.approx(4.0 / 3.0)
