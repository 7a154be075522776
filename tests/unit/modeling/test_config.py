"""config.json to ModelConfig: both spellings of rotary settings, defaults left out, and everything refused."""

import subprocess
import sys

import pytest

from tunery.modeling.config import UnsupportedModel, is_supported, parse_config

LLAMA = {
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def test_parse_fills_in_what_transformers_leaves_out() -> None:
    config = parse_config(LLAMA)
    assert (config.n_kv_heads, config.head_width, config.positions_max) == (4, 12, 2048)
    assert (config.norm_epsilon, config.rope_theta, config.tied_embeddings) == (1e-6, 10000.0, False)


@pytest.mark.parametrize(
    "spelling",
    [
        {"rope_theta": 5e5},
        {"rope_theta": 5e5, "rope_scaling": None},
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
    ],
)
def test_parse_reads_every_spelling_of_rope(spelling: dict) -> None:
    assert parse_config({**LLAMA, **spelling}).rope_theta == 5e5


def test_parse_reads_llama3_scaling_of_older_configs() -> None:
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = parse_config(
        {**LLAMA, "rope_theta": 5e5, "rope_scaling": {**scaling, "original_max_position_embeddings": 8192}}
    )
    assert config.rope_theta == 5e5
    assert config.rope_scaling is not None
    assert config.rope_scaling.original_positions == 8192


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "yarn"),
        ({"partial_rotary_factor": 0.5}, "partial rotary"),
        ({"model_type": "mistral"}, "window of 4096"),
        ({"model_type": "mistral", "sliding_window": 1024}, "window of 1024"),
        ({"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 512}, "window of 512"),
        ({"model_type": "qwen3", "layer_types": ["full_attention", "sliding_attention"]}, "sliding-window layers"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
    ],
)
def test_parse_refuses_what_the_blocks_do_not_compute(change: dict, named: str) -> None:
    with pytest.raises(UnsupportedModel, match=named):
        parse_config({**LLAMA, **change})
    assert not is_supported({**LLAMA, **change})


def test_parameter_count_is_a_hand_count() -> None:
    config = parse_config({**LLAMA, "num_key_value_heads": 2, "tie_word_embeddings": True})
    block = 48 * 48 * 2 + 24 * 48 * 2 + 3 * 80 * 48
    assert config.parameter_count() == 2 * block + 96 * 48


def test_config_imports_no_torch() -> None:
    code = "import sys, tunery.modeling.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
