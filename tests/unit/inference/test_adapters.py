"""Adapters in memory: who is loaded, who leaves, and what is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tunery.blobs.artefacts import publish
from tunery.inference.adapters import AdapterCache, UnusableAdapter, lay_out
from tunery.modeling.llama import CausalLM
from tunery.modeling.lora import load_adapter, new_adapter, save_adapter
from tunery.types.sampling import AdapterRef

PATH = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def cache(base: CausalLM) -> AdapterCache:
    return AdapterCache(base.linear_shapes, adapters_max=2, device=base.device)


def test_fetch_loads_once(cache: AdapterCache, adapters: list[AdapterRef]) -> None:
    assert cache.fetch(adapters[0], in_use=[]) is cache.fetch(adapters[0], in_use=[])
    assert len(cache) == 1


def test_least_recently_used_leaves_first(cache: AdapterCache, adapters: list[AdapterRef]) -> None:
    first, second = (cache.fetch(ref, in_use=[]) for ref in adapters[:2])
    cache.fetch(adapters[0], in_use=[])
    cache.fetch(adapters[2], in_use=[])
    assert len(cache) == 2
    assert cache.fetch(adapters[0], in_use=[]) is first
    assert cache.fetch(adapters[1], in_use=[]) is not second


def test_adapters_in_use_stay(cache: AdapterCache, adapters: list[AdapterRef]) -> None:
    held = [cache.fetch(ref, in_use=[one.sha256 for one in adapters]) for ref in adapters]
    assert len(cache) == 4
    assert [cache.fetch(ref, in_use=[one.sha256 for one in adapters]) for ref in adapters] == held


def test_missing_folder_is_unusable(cache: AdapterCache, tmp_path: Path) -> None:
    with pytest.raises(UnusableAdapter, match="missing or damaged"):
        cache.fetch(AdapterRef(path=str(tmp_path / "gone"), sha256="0" * 64), in_use=[])


def test_other_digest_is_unusable(cache: AdapterCache, adapters: list[AdapterRef]) -> None:
    with pytest.raises(UnusableAdapter, match="missing or damaged"):
        cache.fetch(AdapterRef(path=adapters[0].path, sha256=adapters[1].sha256), in_use=[])


def test_changed_file_is_unusable(cache: AdapterCache, adapters: list[AdapterRef], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(adapters[0].path, copy)
    weights = bytearray((copy / "adapter_model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "adapter_model.safetensors").write_bytes(weights)
    with pytest.raises(UnusableAdapter, match="missing or damaged"):
        cache.fetch(AdapterRef(path=str(copy), sha256=adapters[0].sha256), in_use=[])
    assert len(cache) == 0


def test_whole_folder_that_is_no_adapter_is_unusable(cache: AdapterCache, tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 8}')
        (folder / "adapter_model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")

    published = publish(tmp_path / "adapter", write, facts={})
    with pytest.raises(UnusableAdapter, match="not a LoRA adapter"):
        cache.fetch(AdapterRef(path=str(published.path), sha256=published.sha256), in_use=[])


def test_adapter_of_another_base_is_unusable(cache: AdapterCache, tmp_path: Path) -> None:
    adapter = new_adapter({PATH: (64, 48)}, rank=4, alpha=8.0, targets=("q_proj",), seed=0)
    published = publish(tmp_path / "a", lambda folder: save_adapter(folder, adapter, base_name="x"), facts={})
    with pytest.raises(UnusableAdapter, match="another base"):
        cache.fetch(AdapterRef(path=str(published.path), sha256=published.sha256), in_use=[])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_adapter_without_finite_weights_is_unusable(
    cache: AdapterCache, publish_adapter: Callable[..., AdapterRef], value: float
) -> None:
    with pytest.raises(UnusableAdapter, match="finite"):
        cache.fetch(publish_adapter(seed=50, fill=value), in_use=[])


def test_laid_out_adapter_shares_memory_and_values(adapters: list[AdapterRef]) -> None:
    loaded = load_adapter(Path(adapters[0].path))
    resident = lay_out(loaded, sha256="x")
    for path, pair in loaded.pairs.items():
        factor, kept = resident.factors[path], resident.adapter.pairs[path]
        assert torch.equal(kept.a, pair.a)
        assert torch.equal(kept.b * resident.adapter.scaling, pair.b * loaded.scaling)
        assert kept.a.untyped_storage().data_ptr() == factor.inner_IC.untyped_storage().data_ptr()
        assert kept.b.untyped_storage().data_ptr() == factor.outer_RO.untyped_storage().data_ptr()
