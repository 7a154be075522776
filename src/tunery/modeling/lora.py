"""Low-rank adapters: made, kept in PEFT's file format, and added to the base's linears row by row.

W x becomes W x + alpha / rank * B A x (Hu et al. 2021, arXiv 2106.09685). Adapters stay float32 whatever the base's
dtype. One forward pass may carry rows of several adapters: the base is multiplied once over all rows, each adapter
over its own rows alone and in a fixed order, so a row's result does not depend on its neighbours.

Shapes: N flat rows, S rows of one segment, R rank, O out and I in features, *leading* anything before the last axis.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

_PEFT_PREFIX = "base_model.model."
CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
ALL_LINEAR = "all-linear"
"""The target that stands for every linear of the base, as in PEFT."""


@dataclass(frozen=True)
class LoraPair:
    """The two factors at one linear, float32: a is R I, b is O R."""

    a: Tensor
    b: Tensor


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """`pairs` by module path of the base (`model.layers.0.self_attn.q_proj`), in the base's order."""

    pairs: Mapping[str, LoraPair]
    rank: int
    alpha: float

    @property
    def scaling(self) -> float:
        return self.alpha / self.rank

    def parameters(self) -> list[Tensor]:
        """A then B of every pair, in order: the same list for every copy of the adapter."""
        return [tensor for pair in self.pairs.values() for tensor in (pair.a, pair.b)]

    def to(self, device: str | torch.device) -> "Adapter":
        """The same adapter with its tensors on `device`."""
        pairs = {path: LoraPair(pair.a.to(device), pair.b.to(device)) for path, pair in self.pairs.items()}
        return Adapter(pairs=pairs, rank=self.rank, alpha=self.alpha)

    def parameter_count(self) -> int:
        return sum(tensor.numel() for tensor in self.parameters())


def new_adapter(
    shapes: Mapping[str, tuple[int, int]], *, rank: int, alpha: float, targets: Sequence[str], seed: int
) -> Adapter:
    """An adapter that changes nothing yet, as PEFT starts it: A uniform within 1 / sqrt(in), B zero.

    `shapes` is CausalLM.linear_shapes. The draw depends on `seed` and the shapes alone. The bound is Kaiming's
    sqrt(6 / ((1 + a^2) in)) for a = sqrt(5) (He et al. 2015, arXiv 1502.01852). ALL_LINEAR among the targets takes
    every linear. Raises ValueError when a target names no linear of the base.
    """
    generator = torch.Generator().manual_seed(seed)
    everything = ALL_LINEAR in targets
    chosen = {path: shape for path, shape in shapes.items() if everything or path.rsplit(".", 1)[-1] in targets}
    unknown = set(targets) - {ALL_LINEAR} - {path.rsplit(".", 1)[-1] for path in chosen}
    if unknown:
        raise ValueError(f"the base model has no linear layer named {', '.join(sorted(unknown))}")
    pairs = {}
    for path, (n_out, n_in) in chosen.items():
        a_RI = (torch.rand(rank, n_in, generator=generator) * 2 - 1) * n_in**-0.5
        pairs[path] = LoraPair(a_RI, torch.zeros(n_out, rank))
    return Adapter(pairs=pairs, rank=rank, alpha=alpha)


def save_adapter(folder: Path, adapter: Adapter, *, base_name: str) -> None:
    """Write `adapter` into the existing `folder` in PEFT's format; `base_name` is what PEFT would load below it."""
    tensors = {}
    for path, pair in adapter.pairs.items():
        tensors[f"{_PEFT_PREFIX}{path}.lora_A.weight"] = pair.a.detach().contiguous().cpu()
        tensors[f"{_PEFT_PREFIX}{path}.lora_B.weight"] = pair.b.detach().contiguous().cpu()
    save_file(tensors, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted({path.rsplit(".", 1)[-1] for path in adapter.pairs}),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "modules_to_save": None,
        "use_dora": False,
        "use_rslora": False,
    }
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n")


def load_adapter(folder: Path, *, device: str | torch.device = "cpu") -> Adapter:
    """An adapter from PEFT's two files, ours or anybody's, as float32.

    Raises ValueError for what plain LoRA does not cover: other methods, DoRA, per-module ranks, trained biases or
    whole modules beside the adapter.
    """
    config = json.loads((folder / CONFIG_NAME).read_bytes())
    _refuse_variants(config)
    with safe_open(folder / WEIGHTS_NAME, framework="pt", device=str(device)) as file:
        tensors = {name: file.get_tensor(name).to(torch.float32, copy=True) for name in sorted(file.keys())}
    pairs = {}
    for name in tensors:
        path, _, factor = name.removeprefix(_PEFT_PREFIX).rpartition(".lora_")
        if factor not in ("A.weight", "B.weight") or not name.startswith(_PEFT_PREFIX):
            raise ValueError(f"{WEIGHTS_NAME} holds {name}, which is not a LoRA factor")
        pairs[path] = LoraPair(
            tensors[f"{_PEFT_PREFIX}{path}.lora_A.weight"], tensors[f"{_PEFT_PREFIX}{path}.lora_B.weight"]
        )
    rank, alpha = config["r"], float(config["lora_alpha"])
    if config.get("use_rslora"):
        alpha *= rank**0.5
    return Adapter(pairs=dict(sorted(pairs.items(), key=lambda item: _natural(item[0]))), rank=rank, alpha=alpha)


def _refuse_variants(config: dict[str, Any]) -> None:
    """PEFT leaves keys out that an older version did not know, so an absent key means off."""
    if config.get("peft_type") != "LORA":
        raise ValueError(f"adapter type {config.get('peft_type')} is not LORA")
    for key in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "lora_bias"):
        if config.get(key):
            raise ValueError(f"an adapter with {key} is not supported")
    if config.get("bias") not in (None, "none"):
        raise ValueError("an adapter with trained biases is not supported")


def _natural(path: str) -> tuple[Any, ...]:
    """Sort key that puts layer 2 before layer 10 and keeps a block's linears in the order of linear_shapes."""
    parts = path.split(".")
    last = parts[-1]
    order = _ORDER.index(last) if last in _ORDER else len(_ORDER)
    return (*[(0, int(part), "") if part.isdigit() else (1, 0, "") for part in parts[:-1]], order, path)


_ORDER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Segment:
    """`rows` consecutive flat rows that belong to one adapter, or to none."""

    rows: int
    adapter: Adapter | None


class LoraSegments:
    """The `lora` of a forward pass: segments cover all its flat rows in order.

    Gradients reach an adapter's tensors when they require them; the base's weights get none.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = tuple(segments)

    def linear(self, path: str, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        """Base plus adapters at module `path`; x may have any leading shape, its rows counted flat."""
        plan: list[tuple[int, int, float]] = []
        factors: list[Tensor] = []
        start = 0
        for segment in self._segments:
            if segment.adapter is not None and path in segment.adapter.pairs:
                pair = segment.adapter.pairs[path]
                plan.append((start, start + segment.rows, segment.adapter.scaling))
                factors += (pair.a, pair.b)
            start += segment.rows
        if not plan:
            return F.linear(x, weight_OI, bias_O)
        out_NO = _LoraLinear.apply(x.flatten(0, -2), weight_OI, bias_O, tuple(plan), *factors)
        return out_NO.unflatten(0, x.shape[:-1])


class _LoraLinear(torch.autograd.Function):
    """Base and adapters in one node: adds into the base's output in place and keeps only A x of each segment."""

    @staticmethod
    def forward(ctx, x_NI, weight_OI, bias_O, plan, *factors):
        out_NO = F.linear(x_NI, weight_OI, bias_O)
        inner = []
        for (start, end, scaling), a_RI, b_OR in zip(plan, factors[::2], factors[1::2], strict=True):
            h_SR = x_NI[start:end].to(a_RI.dtype) @ a_RI.T
            _add_product(out_NO[start:end], h_SR, b_OR.T, scaling)
            inner.append(h_SR)
        ctx.plan = plan
        ctx.save_for_backward(x_NI, weight_OI, *factors, *inner)
        return out_NO

    @staticmethod
    def backward(ctx, grad_NO):
        saved = ctx.saved_tensors
        n_segments = len(ctx.plan)
        x_NI, weight_OI, factors, inner = saved[0], saved[1], saved[2 : 2 + 2 * n_segments], saved[2 + 2 * n_segments :]
        wants_x = ctx.needs_input_grad[0]
        grad_x_NI = grad_NO @ weight_OI if wants_x else None
        grads: list[Tensor] = []
        for (start, end, scaling), a_RI, b_OR, h_SR in zip(ctx.plan, factors[::2], factors[1::2], inner, strict=True):
            grad_SO = grad_NO[start:end].to(b_OR.dtype)
            grad_h_SR = (grad_SO @ b_OR).mul_(scaling)
            grads.append(grad_h_SR.T @ x_NI[start:end].to(a_RI.dtype))
            grads.append((grad_SO.T @ h_SR).mul_(scaling))
            if grad_x_NI is not None:
                _add_product(grad_x_NI[start:end], grad_h_SR, a_RI, 1.0)
        return grad_x_NI, None, None, None, *grads


def _add_product(out: Tensor, left: Tensor, right: Tensor, scaling: float) -> None:
    """out += scaling * left @ right in place; the product stays float32 until it is added."""
    if out.dtype == left.dtype:
        out.addmm_(left, right, alpha=scaling)
    else:
        out.add_(left @ right, alpha=scaling)
