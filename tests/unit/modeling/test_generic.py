"""The generic fallback: other architectures behind the same surface, and a refusal for what it cannot compute."""

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GemmaConfig,
    GPTNeoXConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedConfig,
    RecurrentGemmaConfig,
)

from tunery.modeling.attention import Bucket, CausalAttention
from tunery.modeling.config import UnsupportedModel
from tunery.modeling.generic import GenericLM
from tunery.modeling.loading import load_model
from tunery.modeling.lora import LoraSegments, Segment, new_adapter

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ARCHITECTURES = {
    "gemma": GemmaConfig(**SHAPE, num_key_value_heads=1, head_dim=16),
    "olmo2": Olmo2Config(**SHAPE, num_key_value_heads=2),
    "phi3": Phi3Config(**SHAPE, num_key_value_heads=2),
    "gpt_neox": GPTNeoXConfig(**SHAPE),
}


def save_random(config: PreTrainedConfig, folder: Path) -> torch.nn.Module:
    torch.manual_seed(5)
    network = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_of_several_lengths_equal_transformers(name: str, tmp_path: Path) -> None:
    theirs = save_random(ARCHITECTURES[name], tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    assert isinstance(model, GenericLM)
    tokens_N = torch.randint(0, 96, (128,), generator=torch.Generator().manual_seed(1))
    attend = CausalAttention([Bucket(2, 32), Bucket(1, 64)])
    ours_NV = model.logits(model.hidden(tokens_N, positions=attend.positions("cpu"), attend=attend))
    parts = (tokens_N[:64].view(2, 32), tokens_N[64:].view(1, 64))
    expected_NV = torch.cat([theirs(part).logits.flatten(0, 1) for part in parts])
    torch.testing.assert_close(ours_NV, expected_NV, atol=2e-5, rtol=1e-5)


def test_adapters_change_only_their_rows_and_get_gradients(tmp_path: Path) -> None:
    save_random(ARCHITECTURES["phi3"], tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    adapter = new_adapter(model.linear_shapes, rank=4, alpha=8.0, targets=("all-linear",), seed=1)
    assert {path.rsplit(".", 1)[-1] for path in adapter.pairs} == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}
    for pair in adapter.pairs.values():
        pair.b.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(2))
    for tensor in adapter.parameters():
        tensor.requires_grad_()
    tokens_N = torch.randint(0, 96, (64,), generator=torch.Generator().manual_seed(1))
    attend = CausalAttention([Bucket(2, 32)])
    plain_ND = model.hidden(tokens_N, positions=attend.positions("cpu"), attend=attend)
    lora = LoraSegments([Segment(32, None), Segment(32, adapter)])
    tuned_ND = model.hidden(tokens_N, positions=attend.positions("cpu"), attend=attend, lora=lora)
    assert torch.equal(plain_ND[:32], tuned_ND[:32])
    assert (plain_ND[32:] - tuned_ND[32:]).abs().max() > 0.1
    tuned_ND.square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.any() for tensor in adapter.parameters())


def test_other_weights_take_the_place_of_the_network_s(tmp_path: Path) -> None:
    theirs = save_random(ARCHITECTURES["olmo2"], tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    leaves = {name: weight.clone().requires_grad_() for name, weight in model.weights.items()}
    tokens_N = torch.randint(0, 96, (32,), generator=torch.Generator().manual_seed(1))
    attend = CausalAttention([Bucket(1, 32)])
    copy = model.with_weights(leaves)
    copy.logits(copy.hidden(tokens_N, positions=attend.positions("cpu"), attend=attend)).square().mean().backward()
    theirs(tokens_N[None]).logits.square().mean().backward()
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(leaves[name].grad, parameter.grad, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        Gemma2Config(**SHAPE, num_key_value_heads=2, head_dim=16),
        MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=8),
        RecurrentGemmaConfig(**SHAPE, lru_width=48, attention_window_size=16, num_key_value_heads=1),
    ],
    ids=["capped logits", "sliding window", "recurrent"],
)
def test_what_it_cannot_compute_is_refused(config: PreTrainedConfig, tmp_path: Path) -> None:
    save_random(config, tmp_path)
    with pytest.raises(UnsupportedModel):
        load_model(tmp_path, dtype=torch.float32)
