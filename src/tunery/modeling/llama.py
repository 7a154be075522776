"""The Llama family's forward pass over plain tensors: Llama, Mistral, Qwen2, Qwen3.

Written out instead of taken from transformers for three reasons: it loads without that import (3.5 s), training and
generation share one set of kernels (no sampler mismatch), and every operation gives the same bits for a row whatever
other rows stand beside it, which is what lets jobs share a forward pass.

Shapes: R the leading shape of the rows, either N (flat) or B, T; D width, F mlp width, H query heads, G key and value
heads, K head width, V vocabulary, P positions, O out and I in features of a linear.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from tunery.modeling.config import Llama3Scaling, ModelConfig
from tunery.modeling.primitives import rms_norm, rotate, swiglu

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""attend(layer, q_RHK, k_RGK, v_RGK) -> out_RHK, scaled by K**-0.5. q and k come rotated and in float32, v in the
model's dtype; the answer may have any float dtype. Whoever calls `hidden` decides here who sees whom, and may keep
k and v for later."""


class Lora(Protocol):
    """Adapters' share of every linear; see modeling.lora.LoraSegments."""

    def linear(self, path: str, x_RI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        """The base's output plus each row's adapter's contribution at module `path`."""


@dataclass(frozen=True)
class Linear:
    """A projection of the base: its module path in Hugging Face's naming, weight O I, bias O."""

    path: str
    weight: Tensor
    bias: Tensor | None

    def __call__(self, x_RI: Tensor, lora: Lora | None) -> Tensor:
        if lora is None:
            return F.linear(x_RI, self.weight, self.bias)
        return lora.linear(self.path, x_RI, self.weight, self.bias)


@dataclass(frozen=True, kw_only=True)
class Block:
    """One layer's tensors; the paths inside Linear are the names that adapters and files use. Norms are D or K wide."""

    attention_norm: Tensor
    q: Linear
    k: Linear
    v: Linear
    o: Linear
    q_norm: Tensor | None
    k_norm: Tensor | None
    mlp_norm: Tensor
    gate: Linear
    up: Linear
    down: Linear


class CausalLM:
    """A decoder over the tensors it is given; owns none of them and changes none.

    `weights` has Hugging Face's names (`model.layers.0.self_attn.q_proj.weight`, …). Gradients reach a weight exactly
    when it requires them. Raises KeyError when a weight is missing and ValueError when its shape is not the config's.
    """

    def __init__(
        self, config: ModelConfig, weights: Mapping[str, Tensor], *, rotary: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self.config = config
        self.weights = dict(weights)
        self._embed_VD = weights["model.embed_tokens.weight"]
        self._norm_D = weights["model.norm.weight"]
        self.head_weight = self._embed_VD if config.tied_embeddings else weights["lm_head.weight"]
        self.blocks = [_build_block(config, weights, layer) for layer in range(config.n_layers)]
        self._rotary = _rotary_table(config, self._embed_VD.device) if rotary is None else rotary

    @property
    def device(self) -> torch.device:
        return self._embed_VD.device

    @property
    def dtype(self) -> torch.dtype:
        return self._embed_VD.dtype

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(out, in) of every linear an adapter may target, by module path."""
        return self.config.linear_shapes()

    def with_weights(self, weights: Mapping[str, Tensor]) -> "CausalLM":
        """The same model over other tensors of the same names."""
        return CausalLM(self.config, weights, rotary=self._rotary)

    def embed(self, tokens_R: Tensor) -> Tensor:
        """Token embeddings, R D."""
        return F.embedding(tokens_R, self._embed_VD)

    def hidden(self, tokens_R: Tensor, *, positions: Tensor, attend: Attend, lora: Lora | None = None) -> Tensor:
        """Normed states before the head, R D in the model's dtype.

        `positions` (R) counts from 0 inside each sequence and stays below config.positions_max.
        """
        epsilon = self.config.norm_epsilon
        x_RD = self.embed(tokens_R)
        cos_R1K, sin_R1K = (table_PK[positions].unsqueeze(-2) for table_PK in self._rotary)
        for layer, block in enumerate(self.blocks):
            normed_RD = rms_norm(x_RD, block.attention_norm, epsilon)
            q, k, v = (
                linear(normed_RD, lora).unflatten(-1, (-1, self.config.head_width))
                for linear in (block.q, block.k, block.v)
            )
            if block.q_norm is not None and block.k_norm is not None:
                q, k = rms_norm(q, block.q_norm, epsilon), rms_norm(k, block.k_norm, epsilon)
            mixed = attend(layer, rotate(q, cos_R1K, sin_R1K), rotate(k, cos_R1K, sin_R1K), v)
            x_RD = x_RD + block.o(mixed.flatten(-2).to(x_RD.dtype), lora)
            normed_RD = rms_norm(x_RD, block.mlp_norm, epsilon)
            gated_RF = swiglu(block.gate(normed_RD, lora), block.up(normed_RD, lora))
            x_RD = x_RD + block.down(gated_RF, lora)
        return rms_norm(x_RD, self._norm_D, epsilon)

    def logits(self, hidden_RD: Tensor) -> Tensor:
        """Scores of every token, R V in float32."""
        return F.linear(hidden_RD, self.head_weight).float()


def _rotary_table(config: ModelConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """cos and sin, P K each. A table, so that a position's bits never depend on the batch that asks for it."""
    exponents = torch.arange(0, config.head_width, 2, dtype=torch.int64).float() / config.head_width
    frequencies = 1.0 / (config.rope_theta**exponents)
    if config.rope_scaling is not None:
        frequencies = _stretch(frequencies, config.rope_scaling)
    angles = torch.arange(config.positions_max).float()[:, None] * frequencies[None, :]
    angles_PK = torch.cat((angles, angles), dim=-1)
    return angles_PK.cos().to(device), angles_PK.sin().to(device)


def _stretch(frequencies: Tensor, scaling: Llama3Scaling) -> Tensor:
    """Long wavelengths divided by the factor, short ones kept, those between blended."""
    wavelengths = 2 * math.pi / frequencies
    turns = scaling.original_positions / wavelengths
    blend = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    blended = (1 - blend) * frequencies / scaling.factor + blend * frequencies
    long = wavelengths > scaling.original_positions / scaling.low_freq_factor
    short = wavelengths < scaling.original_positions / scaling.high_freq_factor
    return torch.where(long, frequencies / scaling.factor, torch.where(short, frequencies, blended))


def _build_block(config: ModelConfig, weights: Mapping[str, Tensor], layer: int) -> Block:
    prefix = f"model.layers.{layer}"
    shapes = config.linear_shapes()

    def linear(name: str, *, biased: bool) -> Linear:
        path = f"{prefix}.{name}"
        weight_OI = weights[f"{path}.weight"]
        if tuple(weight_OI.shape) != shapes[path]:
            raise ValueError(f"{path}.weight is {tuple(weight_OI.shape)}, config.json says {shapes[path]}")
        return Linear(path, weight_OI, weights[f"{path}.bias"] if biased else None)

    return Block(
        attention_norm=weights[f"{prefix}.input_layernorm.weight"],
        q=linear("self_attn.q_proj", biased=config.qkv_bias),
        k=linear("self_attn.k_proj", biased=config.qkv_bias),
        v=linear("self_attn.v_proj", biased=config.qkv_bias),
        o=linear("self_attn.o_proj", biased=config.o_bias),
        q_norm=weights[f"{prefix}.self_attn.q_norm.weight"] if config.qk_norm else None,
        k_norm=weights[f"{prefix}.self_attn.k_norm.weight"] if config.qk_norm else None,
        mlp_norm=weights[f"{prefix}.post_attention_layernorm.weight"],
        gate=linear("mlp.gate_proj", biased=config.mlp_bias),
        up=linear("mlp.up_proj", biased=config.mlp_bias),
        down=linear("mlp.down_proj", biased=config.mlp_bias),
    )
