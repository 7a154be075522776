"""What a base model of the Llama family looks like, read from its config.json without torch or transformers.

The control plane plans with these numbers (parameters, memory, lengths) and must not import torch; the host builds
the blocks from them. A config that asks for anything the own blocks do not compute is refused here, so that no model
is ever run by nearly the right formula.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_POSITIONS_MAX_DEFAULTS = {"llama": 2048, "mistral": 131072, "qwen2": 32768, "qwen3": 32768}
_WINDOW_DEFAULTS = {"llama": None, "mistral": 4096, "qwen2": None, "qwen3": None}
FAMILIES = tuple(_POSITIONS_MAX_DEFAULTS)


class UnsupportedModel(ValueError):
    """The config asks for something that the own blocks do not compute; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Llama3Scaling:
    """Llama 3.1's long-context stretch of the rotary frequencies (Dubey et al. 2024, arXiv 2407.21783, section 3.4)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_positions: int


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shapes and switches of a decoder with RMSNorm, rotary positions, grouped queries and SwiGLU."""

    family: str
    """`model_type` of config.json, one of FAMILIES."""
    vocab_size: int
    width: int
    """hidden_size."""
    mlp_width: int
    """intermediate_size."""
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_width: int
    positions_max: int
    norm_epsilon: float
    rope_theta: float
    rope_scaling: Llama3Scaling | None
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    qk_norm: bool
    """RMSNorm over each query and key head, before the rotation (Qwen3)."""
    tied_embeddings: bool

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(out, in) of every projection of the blocks, by its module path in Hugging Face's naming, in layer order."""
        queries, keys = self.n_heads * self.head_width, self.n_kv_heads * self.head_width
        block = {
            "self_attn.q_proj": (queries, self.width),
            "self_attn.k_proj": (keys, self.width),
            "self_attn.v_proj": (keys, self.width),
            "self_attn.o_proj": (self.width, queries),
            "mlp.gate_proj": (self.mlp_width, self.width),
            "mlp.up_proj": (self.mlp_width, self.width),
            "mlp.down_proj": (self.width, self.mlp_width),
        }
        return {f"model.layers.{i}.{name}": shape for i in range(self.n_layers) for name, shape in block.items()}

    def parameter_count(self) -> int:
        """Weights of the matrices (embeddings once when tied); norms and biases, under 0.1 %, are left out."""
        blocks = sum(out * inner for out, inner in self.linear_shapes().values())
        return blocks + self.vocab_size * self.width * (1 if self.tied_embeddings else 2)


def read_config(folder: Path) -> ModelConfig:
    """The model in `folder`. Raises UnsupportedModel, or FileNotFoundError without a config.json."""
    return parse_config(json.loads((folder / "config.json").read_bytes()))


def is_supported(config_json: dict[str, Any]) -> bool:
    """Whether the own blocks compute this model exactly; if not, the generic fallback has to."""
    try:
        parse_config(config_json)
    except UnsupportedModel:
        return False
    return True


def parse_config(config_json: dict[str, Any]) -> ModelConfig:
    """A config.json's content as a ModelConfig; keys that transformers leaves out have its defaults.

    Raises UnsupportedModel for another family, activation, rotary scheme, sliding window, or quantised weights.
    """
    family = config_json.get("model_type")
    if family not in FAMILIES:
        raise UnsupportedModel(f"model_type {family!r} is not one of {', '.join(FAMILIES)}")
    missing = [key for key in _REQUIRED if key not in config_json]
    if missing:
        raise UnsupportedModel(f"config.json lacks {', '.join(missing)}")
    _refuse_variants(config_json, family)
    theta, scaling = _read_rope(config_json)
    n_heads, width = config_json["num_attention_heads"], config_json["hidden_size"]
    attention_bias = bool(config_json.get("attention_bias", False))
    return ModelConfig(
        family=family,
        vocab_size=config_json["vocab_size"],
        width=width,
        mlp_width=config_json["intermediate_size"],
        n_layers=config_json["num_hidden_layers"],
        n_heads=n_heads,
        n_kv_heads=config_json.get("num_key_value_heads") or n_heads,
        head_width=config_json.get("head_dim") or (128 if family == "qwen3" else width // n_heads),
        positions_max=config_json.get("max_position_embeddings", _POSITIONS_MAX_DEFAULTS[family]),
        norm_epsilon=config_json.get("rms_norm_eps", 1e-6),
        rope_theta=theta,
        rope_scaling=scaling,
        qkv_bias=family == "qwen2" or attention_bias,
        o_bias=family != "qwen2" and attention_bias,
        mlp_bias=family == "llama" and bool(config_json.get("mlp_bias", False)),
        qk_norm=family == "qwen3",
        tied_embeddings=bool(config_json.get("tie_word_embeddings", False)),
    )


_REQUIRED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def _refuse_variants(config_json: dict[str, Any], family: str) -> None:
    if config_json.get("hidden_act", "silu") != "silu":
        raise UnsupportedModel(f"activation {config_json['hidden_act']!r} is not silu")
    if "quantization_config" in config_json:
        raise UnsupportedModel("quantised weights are not supported")
    if any(kind != "full_attention" for kind in config_json.get("layer_types") or []):
        raise UnsupportedModel("sliding-window layers are not supported")
    windowed = family in ("llama", "mistral") or config_json.get("use_sliding_window", False)
    window = config_json.get("sliding_window", _WINDOW_DEFAULTS[family]) if windowed else None
    positions_max = config_json.get("max_position_embeddings", _POSITIONS_MAX_DEFAULTS[family])
    if window is not None and window < positions_max:
        raise UnsupportedModel(f"a sliding window of {window} is not supported")


def _read_rope(config_json: dict[str, Any]) -> tuple[float, Llama3Scaling | None]:
    """Base and scaling; transformers 5 writes both under rope_parameters, older versions at the top level."""
    rope = config_json.get("rope_parameters") or config_json.get("rope_scaling") or {}
    theta = float(rope.get("rope_theta") or config_json.get("rope_theta") or 10000.0)
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if rope.get("partial_rotary_factor", config_json.get("partial_rotary_factor", 1.0)) not in (1.0, None):
        raise UnsupportedModel("partial rotary embeddings are not supported")
    if kind == "default":
        return theta, None
    if kind != "llama3":
        raise UnsupportedModel(f"rotary scaling {kind!r} is not supported")
    return theta, Llama3Scaling(
        factor=rope["factor"],
        low_freq_factor=rope["low_freq_factor"],
        high_freq_factor=rope["high_freq_factor"],
        original_positions=rope["original_max_position_embeddings"],
    )
