"""A folder with config.json and safetensors becomes a model in memory.

Families with own blocks load without importing transformers (1.2 s against 3.5 s for a host's start); any other
architecture goes through modeling.generic, whose import brings transformers in, and only then.
"""

import importlib
import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from tunery.modeling.config import ModelConfig, is_supported, parse_config
from tunery.modeling.files import weight_files
from tunery.modeling.llama import CausalLM

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def load_model(folder: Path, *, dtype: torch.dtype, device: str | torch.device = "cpu") -> CausalLM:
    """The frozen base in `folder`: floating weights in `dtype`, on `device`.

    On CPU, weights stored in `dtype` stay memory-mapped, so hosts of the same base share their pages; others are
    converted copies. Raises FileNotFoundError for missing files, KeyError for missing weights.
    """
    config_json = json.loads((folder / "config.json").read_bytes())
    if not is_supported(config_json):
        generic = importlib.import_module("tunery.modeling.generic")
        return generic.load_model(folder, dtype=dtype, device=device)
    config = parse_config(config_json)
    weights = load_weights(folder, dtype=dtype, device=device)
    return CausalLM(config, {name: weight for name, weight in weights.items() if not _is_spare(name, config)})


def _is_spare(name: str, config: ModelConfig) -> bool:
    """Tensors that old folders hold although nothing reads them: rotary buffers, and a second copy of tied weights."""
    return name.endswith("rotary_emb.inv_freq") or (config.tied_embeddings and name == "lm_head.weight")


def load_weights(folder: Path, *, dtype: torch.dtype, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """Every tensor of the folder's safetensors by name, none requiring gradients."""
    weights: dict[str, Tensor] = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt", device=str(device)) as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                weights[name] = file.get_tensor(name).to(dtype)
    return weights


def stored_dtypes(folder: Path) -> dict[str, torch.dtype]:
    """The dtype of every tensor as it lies in the folder; reads headers only."""
    dtypes: dict[str, torch.dtype] = {}
    for path in weight_files(folder):
        with safe_open(path, framework="pt", device="cpu") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                dtypes[name] = _DTYPES[file.get_slice(name).get_dtype()]
    return dtypes
