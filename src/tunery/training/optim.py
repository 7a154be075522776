"""AdamW with float32 masters, clipping over a job's own tensors, and learning-rate schedules as pure functions.

Stock torch does the arithmetic; what is ours is that nothing hides: a gradient that is not finite skips the step and
says so, and every tensor of the state is named, so that a snapshot holds all of it.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from tunery.training.spec import OptimizerSpec


def learning_rate(spec: OptimizerSpec, *, step: int, total_steps: int) -> float:
    """The rate of 1-based optimizer step `step`, as transformers' schedules of the same names give it.

    With i = step - 1: linear warm-up peak * i / warmup (so a warm-up's first step has rate 0), then by the share
    p = (i - warmup) / (total - warmup) done: linear peak * (1 - p), cosine peak * (1 + cos(pi p)) / 2, constant peak.
    """
    done = step - 1
    if done < spec.warmup_steps:
        return spec.learning_rate * done / spec.warmup_steps
    share = (done - spec.warmup_steps) / max(1, total_steps - spec.warmup_steps)
    if spec.schedule == "linear":
        return spec.learning_rate * max(0.0, 1.0 - share)
    if spec.schedule == "cosine":
        return spec.learning_rate * max(0.0, 0.5 * (1.0 + math.cos(math.pi * share)))
    return spec.learning_rate


class Optimizer:
    """AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101) over named leaf tensors, which it changes in place.

    Weight decay spares vectors (norms and biases). Clipping scales by grad_norm_max / (norm + 1e-6) when the global
    norm of the job's own gradients is larger.
    """

    def __init__(self, parameters: Mapping[str, Tensor], spec: OptimizerSpec) -> None:
        self._parameters = dict(parameters)
        self._spec = spec
        matrices = [tensor for tensor in parameters.values() if tensor.ndim > 1]
        vectors = [tensor for tensor in parameters.values() if tensor.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": spec.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self._adamw = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=spec.learning_rate,
            betas=(spec.beta1, spec.beta2),
            eps=spec.epsilon,
            fused=True,
        )

    def step(self, *, learning_rate: float) -> float:
        """Take one step with the gradients added up so far and clear them; answers their norm before clipping.

        A norm that is not finite takes no step.
        """
        parameters = list(self._parameters.values())
        for tensor in parameters:
            if tensor.grad is None:
                tensor.grad = torch.zeros_like(tensor)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self._spec.grad_norm_max))
        if math.isfinite(norm):
            for group in self._adamw.param_groups:
                group["lr"] = learning_rate
            self._adamw.step()
        self.clear()
        return norm

    def clear(self) -> None:
        """Forget the gradients added up so far."""
        self._adamw.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts by parameter name; empty before the first step. Not copies."""
        return {
            f"{kind}/{name}": value
            for name, tensor in self._parameters.items()
            for kind, value in self._adamw.state[tensor].items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` gave. Raises KeyError for an unknown parameter."""
        for key, value in state.items():
            kind, _, name = key.partition("/")
            tensor = self._parameters[name]
            self._adamw.state[tensor][kind] = value.to(tensor.device, copy=True)
