"""What a base model of the Llama family looks like, read from its config.json without torch or transformers.

The control plane plans with these numbers (parameters, memory, lengths) and must not import torch; the host builds
the blocks from them. A config that asks for anything the own blocks do not compute is refused here, so that no model
is ever run by nearly the right formula.
"""

from dataclasses import dataclass
from typing import Any

_ABSENT: dict[str, Any] = {
    "attention_bias": False,
    "head_dim": None,
    "hidden_act": "silu",
    "layer_types": None,
    "mlp_bias": False,
    "num_key_value_heads": None,
    "partial_rotary_factor": 1.0,
    "rms_norm_eps": 1e-6,
    "rope_parameters": None,
    "rope_scaling": None,
    "rope_theta": None,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
}
_ABSENT_BY_FAMILY: dict[str, dict[str, Any]] = {
    "llama": {"max_position_embeddings": 2048},
    "mistral": {"max_position_embeddings": 131072, "sliding_window": 4096, "use_sliding_window": True},
    "qwen2": {"max_position_embeddings": 32768},
    "qwen3": {"max_position_embeddings": 32768, "head_dim": 128},
}
"""What an absent key means: transformers leaves keys out that have its defaults, which differ between families."""

FAMILIES = tuple(_ABSENT_BY_FAMILY)
_POSITION_NAMES = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length")


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


def read_positions_max(config_json: dict[str, Any]) -> int:
    """How many tokens a model of any family takes, by the names that families use. Raises UnsupportedModel."""
    if is_supported(config_json):
        return parse_config(config_json).positions_max
    for name in _POSITION_NAMES:
        if isinstance(config_json.get(name), int):
            return int(config_json[name])
    raise UnsupportedModel(f"config.json has none of {', '.join(_POSITION_NAMES)}")


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
    settings = {**_ABSENT, **_ABSENT_BY_FAMILY[family], **config_json}
    _refuse_variants(settings)
    theta, scaling = _read_rope(settings)
    n_heads, width = settings["num_attention_heads"], settings["hidden_size"]
    return ModelConfig(
        family=family,
        vocab_size=settings["vocab_size"],
        width=width,
        mlp_width=settings["intermediate_size"],
        n_layers=settings["num_hidden_layers"],
        n_heads=n_heads,
        n_kv_heads=settings["num_key_value_heads"] or n_heads,
        head_width=settings["head_dim"] or width // n_heads,
        positions_max=settings["max_position_embeddings"],
        norm_epsilon=settings["rms_norm_eps"],
        rope_theta=theta,
        rope_scaling=scaling,
        qkv_bias=family == "qwen2" or bool(settings["attention_bias"]),
        o_bias=family != "qwen2" and bool(settings["attention_bias"]),
        mlp_bias=family == "llama" and bool(settings["mlp_bias"]),
        qk_norm=family == "qwen3",
        tied_embeddings=bool(settings["tie_word_embeddings"]),
    )


_REQUIRED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def _refuse_variants(settings: dict[str, Any]) -> None:
    if settings["hidden_act"] != "silu":
        raise UnsupportedModel(f"activation {settings['hidden_act']!r} is not silu")
    if "quantization_config" in settings:
        raise UnsupportedModel("quantised weights are not supported")
    if any(kind != "full_attention" for kind in settings["layer_types"] or []):
        raise UnsupportedModel("sliding-window layers are not supported")
    window = settings["sliding_window"] if settings["use_sliding_window"] else None
    if window is not None and window < settings["max_position_embeddings"]:
        raise UnsupportedModel(f"a sliding window of {window} is not supported")


def _read_rope(settings: dict[str, Any]) -> tuple[float, Llama3Scaling | None]:
    """Base and scaling; transformers 5 writes both under rope_parameters, older versions at the top level."""
    rope = {
        "rope_theta": None,
        "partial_rotary_factor": 1.0,
        **(settings["rope_parameters"] or settings["rope_scaling"] or {}),
    }
    theta = float(rope["rope_theta"] or settings["rope_theta"] or 10000.0)
    kinds = [rope[key] for key in ("rope_type", "type") if key in rope]
    if any(share not in (1.0, None) for share in (settings["partial_rotary_factor"], rope["partial_rotary_factor"])):
        raise UnsupportedModel("partial rotary embeddings are not supported")
    if not kinds or kinds[0] == "default":
        return theta, None
    if kinds[0] != "llama3":
        raise UnsupportedModel(f"rotary scaling {kinds[0]!r} is not supported")
    return theta, Llama3Scaling(
        factor=rope["factor"],
        low_freq_factor=rope["low_freq_factor"],
        high_freq_factor=rope["high_freq_factor"],
        original_positions=rope["original_max_position_embeddings"],
    )
