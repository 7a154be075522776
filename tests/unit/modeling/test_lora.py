"""Adapters: PEFT opens ours and we open PEFT's with the same logits; rows of several adapters never mix."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from tunery.modeling.attention import Bucket, CausalAttention
from tunery.modeling.llama import CausalLM
from tunery.modeling.loading import load_model
from tunery.modeling.lora import Adapter, LoraPair, LoraSegments, Segment, load_adapter, new_adapter, save_adapter

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # raised inside peft

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CONFIG = LlamaConfig(
    vocab_size=96,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=11,
    num_attention_heads=4,
    num_key_value_heads=2,
)


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("base")
    LlamaForCausalLM(CONFIG).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(base_folder: Path) -> CausalLM:
    return load_model(base_folder, dtype=torch.float32)


def trained_adapter(base: CausalLM, *, seed: int, rank: int = 4, targets: tuple[str, ...] = TARGETS) -> Adapter:
    """An adapter whose B is not zero any more, as after training."""
    adapter = new_adapter(base.linear_shapes, rank=rank, alpha=2.0 * rank, targets=targets, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    for pair in adapter.pairs.values():
        pair.b.normal_(0.0, 0.1, generator=generator)
    return adapter


def score(base: CausalLM, tokens_N: torch.Tensor, segments: list[Segment], buckets: list[Bucket]) -> torch.Tensor:
    attend = CausalAttention(buckets)
    return base.hidden(tokens_N, positions=attend.positions("cpu"), attend=attend, lora=LoraSegments(segments))


def draw_tokens(rows: int) -> torch.Tensor:
    return torch.randint(0, 96, (rows,), generator=torch.Generator().manual_seed(7))


def test_peft_loads_ours_with_the_same_logits(base_folder: Path, base: CausalLM, tmp_path: Path) -> None:
    adapter = trained_adapter(base, seed=1)
    save_adapter(tmp_path, adapter, base_name=str(base_folder))
    theirs = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base_folder), tmp_path)
    tokens_N = draw_tokens(64)

    ours_NV = base.logits(score(base, tokens_N, [Segment(64, adapter)], [Bucket(2, 32)]))

    expected_NV = theirs(tokens_N.view(2, 32)).logits.flatten(0, 1)
    torch.testing.assert_close(ours_NV, expected_NV, atol=1e-5, rtol=1e-5)
    plain_NV = base.logits(score(base, tokens_N, [Segment(64, None)], [Bucket(2, 32)]))
    assert (ours_NV - plain_NV).abs().max() > 0.1


@pytest.mark.parametrize("use_rslora", [False, True])
def test_load_opens_what_peft_made(base_folder: Path, base: CausalLM, tmp_path: Path, use_rslora: bool) -> None:
    config = LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "down_proj"], use_rslora=use_rslora)
    theirs = get_peft_model(LlamaForCausalLM.from_pretrained(base_folder), config)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.1)
    theirs.save_pretrained(tmp_path)
    tokens_N = draw_tokens(64)

    adapter = load_adapter(tmp_path)

    assert list(adapter.pairs) == [path for path in base.linear_shapes if path.endswith(("q_proj", "down_proj"))]
    ours_NV = base.logits(score(base, tokens_N, [Segment(64, adapter)], [Bucket(2, 32)]))
    torch.testing.assert_close(ours_NV, theirs(tokens_N.view(2, 32)).logits.flatten(0, 1), atol=1e-5, rtol=1e-5)


def test_save_then_load_gives_the_same_bytes_and_order(base: CausalLM, tmp_path: Path) -> None:
    adapter = trained_adapter(base, seed=1)
    save_adapter(tmp_path, adapter, base_name="base")
    loaded = load_adapter(tmp_path)
    assert (loaded.rank, loaded.alpha) == (4, 8.0)
    assert list(loaded.pairs) == list(adapter.pairs)
    for ours, theirs in zip(adapter.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_new_adapter_starts_as_peft_does(base: CausalLM) -> None:
    adapter = new_adapter(base.linear_shapes, rank=64, alpha=8.0, targets=TARGETS, seed=3)
    for path, pair in adapter.pairs.items():
        bound = base.linear_shapes[path][1] ** -0.5
        assert not pair.b.any()
        assert 0.95 * bound < pair.a.abs().max() <= bound
        assert abs(pair.a.std() / bound - 3**-0.5) < 0.03
    again = new_adapter(base.linear_shapes, rank=64, alpha=8.0, targets=TARGETS, seed=3)
    other = new_adapter(base.linear_shapes, rank=64, alpha=8.0, targets=TARGETS, seed=4)
    assert torch.equal(adapter.parameters()[0], again.parameters()[0])
    assert not torch.equal(adapter.parameters()[0], other.parameters()[0])


def test_new_adapter_refuses_an_unknown_target(base: CausalLM) -> None:
    with pytest.raises(ValueError, match="no linear layer named c_attn"):
        new_adapter(base.linear_shapes, rank=4, alpha=8.0, targets=("q_proj", "c_attn"), seed=3)


def test_mixed_batch_equals_each_adapter_alone(base: CausalLM) -> None:
    first = trained_adapter(base, seed=1)
    second = trained_adapter(base, seed=2, rank=7, targets=("v_proj", "up_proj"))
    tokens_N = draw_tokens(128)
    buckets = [Bucket(1, 32), Bucket(1, 64), Bucket(1, 32)]
    mixed_ND = score(base, tokens_N, [Segment(32, first), Segment(64, None), Segment(32, second)], buckets)
    for start, length, adapter in ((0, 32, first), (32, 64, None), (96, 32, second)):
        alone_TD = score(base, tokens_N[start : start + length], [Segment(length, adapter)], [Bucket(1, length)])
        assert torch.equal(mixed_ND[start : start + length], alone_TD)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_equal_autograd_through_plain_operations(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(8)
    x_NI = torch.randn(48, 20, generator=generator).to(dtype).requires_grad_()
    weight_OI = torch.randn(12, 20, generator=generator).to(dtype)
    bias_O = torch.randn(12, generator=generator).to(dtype)
    pairs = [LoraPair(torch.randn(r, 20, generator=generator), torch.randn(12, r, generator=generator)) for r in (3, 5)]
    leaves = [tensor.requires_grad_() for pair in pairs for tensor in (pair.a, pair.b)]
    adapters = [Adapter(pairs={"m": pair}, rank=pair.a.shape[0], alpha=6.0) for pair in pairs]
    segments = LoraSegments([Segment(16, adapters[0]), Segment(16, None), Segment(16, adapters[1])])
    cotangent_NO = torch.randn(48, 12, generator=generator).to(dtype)

    out_NO = segments.linear("m", x_NI, weight_OI, bias_O)
    ours = torch.autograd.grad(out_NO, [x_NI, *leaves], cotangent_NO)

    parts = [x_NI[:16], x_NI[16:32], x_NI[32:]]
    added = [
        (parts[0].float() @ pairs[0].a.T @ pairs[0].b.T) * 2.0,
        torch.zeros(16, 12),
        (parts[2].float() @ pairs[1].a.T @ pairs[1].b.T) * 1.2,
    ]
    expected_NO = torch.nn.functional.linear(x_NI, weight_OI, bias_O).float() + torch.cat(added)
    expected = torch.autograd.grad(expected_NO, [x_NI, *leaves], cotangent_NO.float())
    tolerance = {"atol": 1e-4, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.2, "rtol": 0.03}
    torch.testing.assert_close(out_NO.float(), expected_NO, **tolerance)
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine.float(), theirs.float(), **tolerance)


def test_nan_in_one_adapter_leaves_the_others_bytes(base: CausalLM) -> None:
    healthy, sick = trained_adapter(base, seed=1), trained_adapter(base, seed=2)
    for tensor in healthy.parameters() + sick.parameters():
        tensor.requires_grad_()
    tokens_N = draw_tokens(64)
    buckets = [Bucket(1, 32), Bucket(1, 32)]
    clean_ND = score(base, tokens_N, [Segment(32, healthy), Segment(32, sick)], buckets)
    clean = torch.autograd.grad(clean_ND.sum(), healthy.parameters())
    with torch.no_grad():
        sick.parameters()[0].fill_(float("nan"))

    spoilt_ND = score(base, tokens_N, [Segment(32, healthy), Segment(32, sick)], buckets)
    spoilt = torch.autograd.grad(spoilt_ND.sum(), healthy.parameters())

    assert spoilt_ND[32:].isnan().any()
    assert torch.equal(clean_ND[:32], spoilt_ND[:32])
    assert all(torch.equal(before, after) for before, after in zip(clean, spoilt, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
    ],
)
def test_load_refuses_what_is_not_plain_lora(base: CausalLM, tmp_path: Path, change: dict, message: str) -> None:
    save_adapter(tmp_path, trained_adapter(base, seed=1), base_name="base")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ValueError, match=message):
        load_adapter(tmp_path)
