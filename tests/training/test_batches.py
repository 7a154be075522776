"""Data order, micro-batch split and layout: hand counts, and denominators that do not depend on the split."""

import numpy as np
import pytest
import torch

from tests.training.runs import Row, make_rows
from tunery.modeling.attention import Bucket
from tunery.modeling.config import parse_config
from tunery.modeling.llama import CausalLM
from tunery.modeling.lora import Adapter, new_adapter
from tunery.training.batches import Batches, lay_out, shift, shuffle, split
from tunery.training.forward import Request, score
from tunery.training.losses import cross_entropy


class Listed:
    """Examples in memory."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int, /) -> Row:
        return self._rows[index]


def make_batches(rows: list[Row], *, batch_size: int = 4, tokens_max: int = 160) -> Batches:
    return Batches(examples=Listed(rows), batch_size=batch_size, tokens_max=tokens_max, seed=9, device="cpu")


def row(tokens: list[int], weights: list[float]) -> Row:
    return np.array(tokens, np.int32), np.array(weights, np.float32)


def test_shift_pairs_each_label_with_the_token_before_it() -> None:
    """Five tokens, labels 13 and 14: the inputs end with what predicts 14; the unsupervised 15 is never needed."""
    example = shift(*row([11, 12, 13, 14, 15], [0, 0, 1, 0.5, 0]))
    assert example.inputs.tolist() == [11, 12, 13]
    assert example.targets.tolist() == [12, 13, 14]
    assert example.weights.tolist() == [0, 1, 0.5]
    assert (example.n_tokens, example.padded) == (5, 32)


def test_first_token_is_never_a_label() -> None:
    batch = make_batches([row([11, 12, 13], [1, 1, 0])]).batch(1)
    assert (batch.weight_total, batch.n_supervised) == (1.0, 1)


def test_denominator_equals_a_hand_count() -> None:
    """Labels with weight: 12, 13 of the first row, 23 of the second: 1 + 1 + 0.5 = 2.5 over three tokens."""
    rows = [row([11, 12, 13], [0, 1, 1]), row([21, 22, 23], [0, 0, 0.5])]
    batch = make_batches(rows).collect([0, 1])
    assert (batch.weight_total, batch.n_supervised, batch.n_tokens) == (2.5, 3, 6)


def test_layout_points_at_the_predicting_rows() -> None:
    rows = [row(list(range(1, 41)), [0] * 39 + [1]), row([7, 8, 9], [0, 1, 1]), row([4, 5], [0, 1])]
    (micro_batch,) = make_batches(rows).collect([0, 1, 2]).micro_batches
    assert micro_batch.buckets == (Bucket(2, 32), Bucket(1, 64))
    assert micro_batch.positions_P.tolist() == [0, 1, 32, 64 + 38]
    assert micro_batch.targets_P.tolist() == [8, 9, 5, 40]
    assert micro_batch.tokens_N[micro_batch.positions_P].tolist() == [7, 8, 4, 39]
    assert len(micro_batch.tokens_N) == 128


def test_split_respects_the_budget_and_lets_a_long_example_alone() -> None:
    examples = [shift(*row([1] * length, [0] + [1] * (length - 1))) for length in (300, 20, 60, 33, 90)]
    parts = split(examples, 96)
    assert [[example.padded for example in part] for part in parts] == [[32, 32], [64], [96], [320]]


def test_every_epoch_sees_every_example_once_in_another_order() -> None:
    orders = [shuffle(100, seed=9, epoch=epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert shuffle(100, seed=-1, epoch=0).tolist() != orders[0]


def test_shuffle_is_pinned() -> None:
    """Frozen: another order would break the resume of jobs prepared by an earlier version."""
    assert shuffle(10, seed=7, epoch=2).tolist() == [6, 7, 8, 4, 0, 1, 5, 3, 9, 2]


def test_last_batch_of_an_epoch_takes_what_is_left() -> None:
    batches = make_batches(make_rows(14, seed=3))
    assert batches.steps_per_epoch == 4
    assert [batches.batch(step).n_tokens for step in (4, 8)] == [
        sum(len(batches.examples.row(int(index))[0]) for index in shuffle(14, seed=9, epoch=epoch)[12:])
        for epoch in (0, 1)
    ]


def test_sweep_sees_every_example_once() -> None:
    rows = make_rows(300, seed=3, length_max=10)
    batches = make_batches(rows)
    swept = list(batches.sweep())
    assert sum(part.n_tokens for part in swept) == sum(len(tokens) for tokens, _ in rows)
    assert max(len(part.tokens_N) for part in swept) <= 160


@pytest.fixture(scope="module")
def model() -> CausalLM:
    shape = {"vocab_size": 128, "hidden_size": 32, "intermediate_size": 48}
    config = parse_config(
        {**shape, "model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 2, "tie_word_embeddings": True}
    )
    generator = torch.Generator().manual_seed(4)
    weights = {name: torch.randn(s, generator=generator) * 0.2 for name, s in config.linear_shapes().items()}
    weights = {f"{name}.weight": tensor for name, tensor in weights.items()}
    norms = [f"model.layers.{i}.{n}.weight" for i in (0, 1) for n in ("input_layernorm", "post_attention_layernorm")]
    weights |= {name: torch.ones(32) for name in [*norms, "model.norm.weight"]}
    weights["model.embed_tokens.weight"] = torch.randn(128, 32, generator=generator)
    return CausalLM(config, weights)


def gradient_of(model: CausalLM, batches: Batches, indices: list[int]) -> tuple[float, torch.Tensor]:
    """Loss and flat gradient of one optimizer step over these examples."""
    adapter = trained(model)
    batch = batches.collect(indices)
    loss = 0.0
    for rows in batch.micro_batches:

        def share(logprobs_P: torch.Tensor, rows=rows) -> torch.Tensor:
            return cross_entropy(logprobs_P, rows.weights_P, weight_total=batch.weight_total)

        loss += score(model, [Request(rows=rows, loss=share, adapter=adapter)])[0].loss
    gradients = [tensor.grad for tensor in adapter.parameters() if tensor.grad is not None]
    return loss, torch.cat([gradient.flatten() for gradient in gradients])


def trained(model: CausalLM) -> Adapter:
    adapter = new_adapter(model.linear_shapes, rank=4, alpha=8.0, targets=("q_proj", "down_proj"), seed=1)
    for pair in adapter.pairs.values():
        pair.b.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(6))
    for tensor in adapter.parameters():
        tensor.requires_grad_()
    return adapter


@pytest.mark.parametrize("tokens_max", [32, 96, 160, 300])
def test_loss_and_gradient_do_not_depend_on_the_split(model: CausalLM, tokens_max: int) -> None:
    """Trap 1: one micro-batch, eight, and ragged splits of the same eight examples."""
    rows = make_rows(8, seed=3)
    whole = make_batches(rows, tokens_max=10_000)
    parts = make_batches(rows, tokens_max=tokens_max)
    assert len(whole.collect(range(8)).micro_batches) == 1
    assert len(parts.collect(range(8)).micro_batches) > 1
    expected_loss, expected = gradient_of(model, whole, list(range(8)))
    loss, gradient = gradient_of(model, parts, list(range(8)))
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert float((gradient - expected).norm()) <= 1e-6 * float(expected.norm())


def test_padding_changes_nothing(model: CausalLM) -> None:
    """Trap 3: the same examples padded further (as if beside longer ones) have the same loss and gradient."""
    rows = make_rows(4, seed=3, length_max=20)
    tail = np.full(70, 3, np.int32)
    longer = [(np.concatenate([t, tail]), np.concatenate([w, np.zeros(70, np.float32)])) for t, w in rows]
    expected_loss, expected = gradient_of(model, make_batches(rows), [0, 1, 2, 3])
    loss, gradient = gradient_of(model, make_batches(longer), [0, 1, 2, 3])
    assert (loss, expected_loss > 1) == (expected_loss, True)
    assert torch.equal(gradient, expected)


def test_all_masked_micro_batch_gives_zero(model: CausalLM) -> None:
    masked = row([5, 6, 7], [0, 0, 0])
    loss, gradient = gradient_of(model, make_batches([masked]), [0])
    assert loss == 0.0
    assert not gradient.any()
    with_others = make_batches([masked, *make_rows(3, seed=3)], tokens_max=32)
    without = make_batches(make_rows(3, seed=3), tokens_max=32)
    expected_loss, expected = gradient_of(model, without, [0, 1, 2])
    loss, gradient = gradient_of(model, with_others, [0, 1, 2, 3])
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    torch.testing.assert_close(gradient, expected)


def test_documents_of_one_micro_batch_do_not_see_each_other(model: CausalLM) -> None:
    """Trap 4: a document's log-probabilities stay the same to the bit when its neighbour's tokens change."""
    rows = make_rows(2, seed=3)
    other = (np.where(rows[0][1] > 0, rows[0][0], 99).astype(np.int32), rows[0][1])
    scores = []
    for first in (rows[0], other):
        micro_batch = lay_out(sorted((shift(*first), shift(*rows[1])), key=lambda e: e.padded), device="cpu")
        (scored,) = score(model, [Request(rows=micro_batch, loss=None, adapter=None)])
        scores.append(scored.logprobs_P)
    changed = scores[0] != scores[1]
    n_first = int((rows[0][1][1:] > 0).sum())
    assert 0 < int(changed.sum()) <= n_first
