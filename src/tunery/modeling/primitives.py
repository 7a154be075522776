"""The three operations of a block beside its matrices, each as one autograd node with a short backward pass.

On a CPU a block of a small model spends a third of its time in passes over memory; written as compositions these
three cost up to twice as many. All compute in float32 whatever the input's dtype, and only from operations of which
each element's bits do not depend on how many stand beside it. F.silu and sigmoid are not such: the vector tail of
their CPU kernels calls another exp than the body (54 to 61 elements differ from the same ones among 4,096).

Shapes: *leading* anything before the last axis; D width, K head width, F mlp width.
"""

from typing import Any

import torch
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """x / sqrt(mean(x^2) + epsilon) * weight over the last axis (Zhang and Sennrich 2019, arXiv 1910.07467)."""
    return _RmsNorm.apply(x, weight, epsilon)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """gate * sigmoid(gate) * up (Shazeer 2020, arXiv 2002.05202), with sigmoid(x) = 1 / (1 + exp(-x))."""
    return _SwiGlu.apply(gate, up)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021, arXiv 2104.09864) in the half-split layout; float32.

    (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin) for the halves x1, x2 of the last axis; cos and sin broadcast to x
    and repeat themselves in their second half.
    """
    return _Rotation.apply(x, cos, sin)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = norm.square_().mul_(1.0 / x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (wide * scale).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        x, grad = x.float(), grad.float()
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad * x * scale).flatten(0, -2).sum(0).to(weight.dtype)
        pulled = (grad * weight).mul_(scale)
        along = torch.linalg.vecdot(pulled, x).unsqueeze(-1).mul_(scale * scale).mul_(-1.0 / x.shape[-1])
        return pulled.addcmul_(x, along).to(ctx.saved_tensors[0].dtype), grad_weight, None


class _SwiGlu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        wide = gate.float()
        sigmoid = wide.neg().exp_().add_(1.0).reciprocal_()
        ctx.save_for_backward(gate, up, sigmoid.to(gate.dtype))
        return (wide * sigmoid).mul_(up).to(gate.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate, up, sigmoid = (saved.float() for saved in ctx.saved_tensors)
        silu = gate * sigmoid
        slope = torch.addcmul(silu, silu, sigmoid, value=-1.0).add_(sigmoid)
        return slope.mul_(up).mul_(grad).to(grad.dtype), silu.mul_(grad).to(grad.dtype)


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.dtype = x.dtype
        return _turn(x.float(), cos, sin, sign=1.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _turn(grad, *ctx.saved_tensors, sign=-1.0).to(ctx.dtype), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, *, sign: float) -> Tensor:
    turned = x * cos
    half = x.shape[-1] // 2
    turned[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-sign)
    turned[..., half:].addcmul_(x[..., :half], sin[..., half:], value=sign)
    return turned
