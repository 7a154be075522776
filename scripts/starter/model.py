"""The starter's shape, and the folder that holds it: Llama with tied embeddings, small enough for an hour on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizer import BOS, END, PAD, POSITIONS_MAX, SPECIAL_TOKENS, VOCABULARY
from transformers import LlamaConfig, LlamaForCausalLM


def build_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=POSITIONS_MAX,
        rope_theta=10000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=SPECIAL_TOKENS.index(BOS),
        eos_token_id=SPECIAL_TOKENS.index(END),
        pad_token_id=SPECIAL_TOKENS.index(PAD),
        initializer_range=0.02,
        attn_implementation="eager",
    )


def write_model(model: LlamaForCausalLM, folder: Path) -> None:
    """config.json, generation_config.json and bf16 model.safetensors, the last replaced in one move."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = json.loads(model.config.to_json_string(use_diff=False))
    kept = (
        "attention_bias",
        "attention_dropout",
        "bos_token_id",
        "eos_token_id",
        "head_dim",
        "hidden_act",
        "hidden_size",
        "initializer_range",
        "intermediate_size",
        "max_position_embeddings",
        "mlp_bias",
        "model_type",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "pad_token_id",
        "rms_norm_eps",
        "tie_word_embeddings",
        "use_cache",
        "vocab_size",
    )
    config = {
        "architectures": ["LlamaForCausalLM"],
        **{key: settings[key] for key in kept},
        "rope_theta": 10000.0,
        "torch_dtype": "bfloat16",
    }
    generation = {
        "bos_token_id": config["bos_token_id"],
        "eos_token_id": config["eos_token_id"],
        "pad_token_id": config["pad_token_id"],
    }
    write_json(folder / "config.json", config)
    write_json(folder / "generation_config.json", generation)
    # The head is tied to the embedding and therefore not stored a second time.
    weights = {
        name: value.detach().to("cpu", torch.bfloat16).contiguous()
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(weights, folder / "model.safetensors.part", metadata={"format": "pt"})
    # safetensors writes for its owner alone; a packaged file is for everybody.
    (folder / "model.safetensors.part").chmod(0o644)
    (folder / "model.safetensors.part").replace(folder / "model.safetensors")


def write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
