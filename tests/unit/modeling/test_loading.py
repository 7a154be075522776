"""Folders to models: sharded files, memory-mapping, dtype, and no transformers on the way."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tunery.modeling.files import weight_files
from tunery.modeling.loading import load_model, load_weights


@pytest.fixture(scope="module")
def theirs() -> LlamaForCausalLM:
    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=4,
        dtype=torch.bfloat16,
    )
    return LlamaForCausalLM(config).to(torch.bfloat16)


def test_sharded_folder_loads_every_weight(theirs: LlamaForCausalLM, tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(weight_files(tmp_path)) > 2
    weights = load_weights(tmp_path, dtype=torch.float32)
    state = theirs.state_dict()
    assert set(weights) == set(state)
    for name, tensor in weights.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, state[name].float())


def test_weights_of_the_stored_dtype_stay_mapped(theirs: LlamaForCausalLM, tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.bfloat16)
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no /proc on this system")
    mapped = [line.split()[0].split("-") for line in maps.read_text().splitlines() if str(tmp_path) in line]
    ranges = [(int(low, 16), int(high, 16)) for low, high in mapped]
    assert any(low <= model.head_weight.data_ptr() < high for low, high in ranges)


def test_a_folder_without_weights_is_named(theirs: LlamaForCausalLM, tmp_path: Path) -> None:
    theirs.config.save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        load_model(tmp_path, dtype=torch.float32)


def test_loading_imports_no_transformers(theirs: LlamaForCausalLM, tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path)
    code = (
        "import sys, pathlib, torch\n"
        "from tunery.modeling.loading import load_model\n"
        f"load_model(pathlib.Path({str(tmp_path)!r}), dtype=torch.float32)\n"
        "sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
