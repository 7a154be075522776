"""Own blocks against transformers on tiny random models of every family: the same logits, the same gradients."""

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tunery.modeling.attention import Bucket, CausalAttention
from tunery.modeling.loading import load_model

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 50000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig(**SHAPE, tie_word_embeddings=True)),
    "llama-biased": (LlamaForCausalLM, LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True, head_dim=16)),
    "llama3-rope": (LlamaForCausalLM, LlamaConfig(**SHAPE, rope_parameters=LLAMA3)),
    "mistral": (MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=None)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SHAPE, tie_word_embeddings=True)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SHAPE, head_dim=16)),
}


def random_model(model_class: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    """Weights large enough that every branch (norms and biases too) moves the logits."""
    torch.manual_seed(5)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_equal_transformers(name: str, tmp_path: Path) -> None:
    theirs = random_model(*FAMILIES[name])
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path, dtype=torch.float32)
    tokens_BT = torch.randint(0, 96, (2, 64), generator=torch.Generator().manual_seed(1))
    attend = CausalAttention([Bucket(2, 64)])

    hidden_ND = ours.hidden(tokens_BT.flatten(), positions=attend.positions("cpu"), attend=attend)

    expected_BTV = theirs(tokens_BT).logits
    assert expected_BTV.std() > 0.3
    torch.testing.assert_close(ours.logits(hidden_ND).view(2, 64, 96), expected_BTV, atol=1e-5, rtol=1e-5)


def test_gradients_of_every_weight_equal_transformers(tmp_path: Path) -> None:
    theirs = random_model(*FAMILIES["qwen3"])
    theirs.save_pretrained(tmp_path)
    frozen = load_model(tmp_path, dtype=torch.float32)
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in frozen.weights.items()}
    ours = frozen.with_weights(leaves)
    tokens_BT = torch.randint(0, 96, (2, 32), generator=torch.Generator().manual_seed(1))
    attend = CausalAttention([Bucket(2, 32)])

    ours.logits(
        ours.hidden(tokens_BT.flatten(), positions=attend.positions("cpu"), attend=attend)
    ).square().mean().backward()

    theirs(tokens_BT).logits.square().mean().backward()
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(leaves[name].grad, parameter.grad, atol=1e-6, rtol=1e-4)


def test_rows_of_several_lengths_equal_each_alone(tmp_path: Path) -> None:
    random_model(*FAMILIES["llama"]).save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    buckets = [Bucket(2, 32), Bucket(1, 64), Bucket(1, 96)]
    tokens_N = torch.randint(0, 96, (224,), generator=torch.Generator().manual_seed(2))
    attend = CausalAttention(buckets)
    together_ND = model.hidden(tokens_N, positions=attend.positions("cpu"), attend=attend)

    start = 0
    for length in (32, 32, 64, 96):
        alone = CausalAttention([Bucket(1, length)])
        alone_TD = model.hidden(tokens_N[start : start + length], positions=alone.positions("cpu"), attend=alone)
        assert torch.equal(together_ND[start : start + length], alone_TD)
        start += length


def test_leading_shape_of_rows_is_free(tmp_path: Path) -> None:
    random_model(*FAMILIES["llama"]).save_pretrained(tmp_path)
    model = load_model(tmp_path, dtype=torch.float32)
    tokens_BT = torch.randint(0, 96, (3, 32), generator=torch.Generator().manual_seed(2))
    flat = CausalAttention([Bucket(3, 32)])

    def attend_batched(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return flat(layer, q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)).unflatten(0, (3, 32))

    positions_BT = torch.arange(32).expand(3, 32)
    batched_BTD = model.hidden(tokens_BT, positions=positions_BT, attend=attend_batched)
    flat_ND = model.hidden(tokens_BT.flatten(), positions=positions_BT.flatten(), attend=flat)
    assert torch.equal(batched_BTD.flatten(0, 1), flat_ND)


def test_bfloat16_stays_close_to_float32(tmp_path: Path) -> None:
    random_model(*FAMILIES["llama"]).save_pretrained(tmp_path)
    tokens_N = torch.randint(0, 96, (64,), generator=torch.Generator().manual_seed(2))
    attend = CausalAttention([Bucket(1, 64)])
    logits = []
    for dtype in (torch.float32, torch.bfloat16):
        model = load_model(tmp_path, dtype=dtype)
        hidden = model.hidden(tokens_N, positions=attend.positions("cpu"), attend=attend)
        assert hidden.dtype == dtype
        logits.append(model.logits(hidden))
    assert logits[1].dtype == torch.float32
    assert (logits[0] - logits[1]).norm() / logits[0].norm() < 0.03


def test_load_refuses_a_weight_of_another_shape(tmp_path: Path) -> None:
    random_model(*FAMILIES["llama"]).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 96}))
    with pytest.raises(ValueError, match=r"mlp\.gate_proj\.weight is \(80, 48\)"):
        load_model(tmp_path, dtype=torch.float32)
