"""Whole runs through the slot: the loss falls, an interrupted run equals an unbroken one, a sick one says why."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import LlamaForCausalLM, Olmo2Config, Olmo2ForCausalLM

from tests.training.runs import Row, Run, finish, make_rows, make_spec, start, train, write_rows
from tunery.blobs import artefacts
from tunery.modeling.attention import Bucket, CausalAttention
from tunery.modeling.loading import load_model
from tunery.modeling.lora import LoraSegments, Segment, load_adapter
from tunery.training.reports import (
    CheckpointSaved,
    Failed,
    Finished,
    Paused,
    SnapshotSaved,
    Started,
    Stepped,
    Warned,
)
from tunery.training.spec import LoraSpec, OptimizerSpec, TrainSpec

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # raised inside peft


@pytest.fixture(scope="module")
def spec(base_path: Path, train_path: Path, rows: list[Row]) -> TrainSpec:
    return make_spec(base_path, train_path, n_rows=len(rows), n_epochs=5)


@pytest.fixture(scope="module")
def unbroken(spec: TrainSpec, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(spec, tmp_path_factory.mktemp("unbroken"))


def final_bytes(run: Run) -> bytes:
    (finished,) = run.of(Finished)
    return (run.output / finished.artefact.path / "adapter_model.safetensors").read_bytes()


def test_loss_falls_by_more_than_half(unbroken: Run) -> None:
    assert unbroken.losses[-1] < unbroken.losses[0] / 2
    metrics = [body.metrics for body in unbroken.of(Stepped)]
    assert metrics[-1].train_accuracy > metrics[0].train_accuracy
    assert [m.step for m in metrics] == list(range(1, 21))
    assert all(0 < m.supervised_tokens < m.tokens and m.grad_norm > 0 and m.seconds > 0 for m in metrics)


def test_reports_come_in_order(unbroken: Run) -> None:
    kinds = [type(body) for body in unbroken.bodies]
    epoch = [Stepped] * 4
    assert kinds == [Started, *[*epoch, CheckpointSaved] * 4, *epoch, Finished]
    assert [body.step for body in unbroken.of(CheckpointSaved)] == [4, 8, 12, 16]
    assert unbroken.bodies[0] == Started(total_steps=20, resumed_at_step=0)


def test_every_checkpoint_is_complete_and_says_its_base(unbroken: Run) -> None:
    bodies = [*unbroken.of(CheckpointSaved), *unbroken.of(Finished)]
    assert len(bodies) == 5
    for body in bodies:
        found = artefacts.verify(unbroken.output / body.artefact.path, sha256=body.artefact.sha256)
        assert found.file_bytes == body.artefact.file_bytes
        assert found.facts == {"step": body.step, "base_sha256": "0" * 64}


def test_peft_opens_the_final_adapter_with_the_same_logits(unbroken: Run, base_path: Path) -> None:
    folder = unbroken.output / unbroken.of(Finished)[0].artefact.path
    theirs = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base_path, dtype=torch.float32), folder)
    ours = load_model(base_path, dtype=torch.float32)
    tokens_N = torch.randint(0, 128, (64,), generator=torch.Generator().manual_seed(1))
    attend = CausalAttention([Bucket(2, 32)])
    lora = LoraSegments([Segment(64, load_adapter(folder))])
    hidden_ND = ours.hidden(tokens_N, positions=attend.positions("cpu"), attend=attend, lora=lora)
    expected_NV = theirs(tokens_N.view(2, 32)).logits.flatten(0, 1)
    torch.testing.assert_close(ours.logits(hidden_ND), expected_NV, atol=1e-5, rtol=1e-5)


def test_same_seed_same_bytes_other_seed_other_losses(spec: TrainSpec, unbroken: Run, tmp_path: Path) -> None:
    again = train(spec, tmp_path / "again")
    assert again.losses == unbroken.losses
    assert final_bytes(again) == final_bytes(unbroken)
    other = train(msgspec.structs.replace(spec, seed=18), tmp_path / "other")
    assert other.losses[0] != unbroken.losses[0]


@pytest.mark.parametrize("pause_after", [1, 4, 19])
def test_paused_and_resumed_run_equals_the_unbroken_one(
    spec: TrainSpec, unbroken: Run, tmp_path: Path, pause_after: int
) -> None:
    slot = start(spec, tmp_path / "e1")
    first = finish(slot, tmp_path / "e1", until=lambda slot: slot.step == pause_after - 1)
    slot.request_pause()
    first.bodies += finish(slot, tmp_path / "e1").bodies
    saved, paused = first.bodies[-2:]
    assert isinstance(saved, SnapshotSaved)
    assert paused == Paused(step=pause_after)

    second = finish(start(spec, tmp_path / "e2", resume=tmp_path / "e1" / saved.artefact.path), tmp_path / "e2")

    assert second.bodies[0] == Started(total_steps=20, resumed_at_step=pause_after)
    assert first.losses + second.losses == unbroken.losses
    assert final_bytes(second) == final_bytes(unbroken)


def test_a_run_that_died_goes_on_from_its_last_snapshot(spec: TrainSpec, unbroken: Run, tmp_path: Path) -> None:
    spec = msgspec.structs.replace(spec, snapshot_seconds=0.0)
    first = finish(start(spec, tmp_path / "e1"), tmp_path / "e1", until=lambda slot: slot.step == 10)
    snapshots = sorted((tmp_path / "e1" / "snapshots").iterdir())
    assert [path.name for path in snapshots] == [f"step-{step:08d}" for step in range(1, 11)]

    second = finish(start(spec, tmp_path / "e2", resume=snapshots[-1]), tmp_path / "e2")

    assert first.losses == unbroken.losses[:10]
    assert [body.metrics.step for body in second.of(Stepped)] == list(range(11, 21))
    assert second.losses == unbroken.losses[10:]
    assert final_bytes(second) == final_bytes(unbroken)


def test_resume_refuses_a_damaged_snapshot(spec: TrainSpec, tmp_path: Path) -> None:
    spec = msgspec.structs.replace(spec, snapshot_seconds=0.0)
    run = finish(start(spec, tmp_path), tmp_path, until=lambda slot: slot.step == 2)
    folder = tmp_path / run.of(SnapshotSaved)[0].artefact.path
    content = bytearray((folder / "state.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "state.safetensors").write_bytes(content)
    with pytest.raises(artefacts.IncompleteArtefact, match=r"state\.safetensors is not what the manifest says"):
        start(spec, tmp_path / "e2", resume=folder)


def test_pause_asked_for_in_the_last_step_finishes_instead(spec: TrainSpec, tmp_path: Path) -> None:
    slot = start(spec, tmp_path)
    run = finish(slot, tmp_path, until=lambda slot: slot.step == 19)
    run.bodies += slot.advance()
    while slot.step == 19 and slot.request is not None:
        run.bodies += slot.advance()
    slot.request_pause()
    run.bodies += finish(slot, tmp_path).bodies
    assert isinstance(run.bodies[-1], Finished)


def test_cancelled_slot_publishes_nothing_more(spec: TrainSpec, tmp_path: Path) -> None:
    slot = start(spec, tmp_path)
    finish(slot, tmp_path, until=lambda slot: slot.step == 5)
    slot.close()
    assert slot.done
    assert [path.name for path in tmp_path.glob("*/*")] == ["step-00000004"]


def test_each_call_is_at_most_one_micro_batch(spec: TrainSpec, tmp_path: Path) -> None:
    """A step of several micro-batches takes as many calls, so a cancel never waits for more than one."""
    slot = start(msgspec.structs.replace(spec, micro_batch_tokens_max=32), tmp_path)
    slot.advance()
    calls = 0
    while slot.request is not None:
        assert len(slot.request.rows.buckets) == 1
        assert slot.request.rows.buckets[0].sequences == 1
        slot.advance()
        calls += 1
    assert calls == 4


def test_step_that_is_not_finite_is_skipped_and_told(spec: TrainSpec, rows: list[Row], tmp_path: Path) -> None:
    sick = list(rows)
    sick[5] = (rows[5][0], np.where(rows[5][1] > 0, np.float32("inf"), np.float32(0)))
    spec = msgspec.structs.replace(spec, train_path=str(write_rows(tmp_path / "sick.safetensors", sick)))
    run = train(spec, tmp_path)
    warned = [body.message for body in run.of(Warned)]
    assert len(warned) == 5
    assert all("was skipped: its loss" in message for message in warned)
    assert len(run.losses) == 15
    adapter = load_adapter(tmp_path / run.of(Finished)[0].artefact.path)
    assert all(torch.isfinite(tensor).all() for tensor in adapter.parameters())


def test_three_skipped_steps_in_a_row_end_the_run(spec: TrainSpec, tmp_path: Path) -> None:
    run = train(msgspec.structs.replace(spec, optimizer=OptimizerSpec(learning_rate=float("inf"))), tmp_path)
    assert len(run.losses) == 1
    assert len(run.of(Warned)) == 3
    failed = run.bodies[-1]
    assert isinstance(failed, Failed)
    assert failed.code == "training_diverged"
    assert not list(tmp_path.glob("checkpoints/*"))


def test_weights_that_are_not_finite_are_never_published(spec: TrainSpec, tmp_path: Path) -> None:
    optimizer = OptimizerSpec(learning_rate=float("inf"), schedule="constant")
    run = train(msgspec.structs.replace(spec, optimizer=optimizer, batch_size=14, total_steps=1), tmp_path)
    assert isinstance(run.bodies[-1], Failed)
    assert run.bodies[-1].code == "training_diverged"
    assert not list(tmp_path.glob("checkpoints/*"))


def test_skipped_steps_are_remembered_across_a_pause(spec: TrainSpec, tmp_path: Path) -> None:
    spec = msgspec.structs.replace(spec, optimizer=OptimizerSpec(learning_rate=float("inf")))
    slot = start(spec, tmp_path / "e1")
    finish(slot, tmp_path, until=lambda slot: slot.step == 1)
    slot.request_pause()
    (saved,) = finish(slot, tmp_path).of(SnapshotSaved)
    second = finish(start(spec, tmp_path / "e2", resume=tmp_path / "e1" / saved.artefact.path), tmp_path / "e2")
    assert [type(body) for body in second.bodies] == [Started, Warned, Warned, Failed]


def test_validation_scores_a_sample_often_and_everything_at_an_epochs_end(
    spec: TrainSpec, base_path: Path, tmp_path: Path
) -> None:
    valid = make_rows(12, seed=30)
    spec = msgspec.structs.replace(
        spec,
        valid_path=str(write_rows(tmp_path / "valid.safetensors", valid)),
        valid_interval_steps=3,
        valid_sample_rows=5,
        n_epochs=2,
        total_steps=8,
    )
    run = train(spec, tmp_path)
    metrics = [body.metrics for body in run.of(Stepped)]
    assert [m.step for m in metrics if m.valid_loss is not None] == [3, 4, 6, 8]
    assert [m.step for m in metrics if m.full_valid_loss is not None] == [4, 8]
    assert metrics[-1].full_valid_loss < metrics[3].full_valid_loss
    expected = _score_with_transformers(base_path, tmp_path / run.of(Finished)[0].artefact.path, valid)
    assert (metrics[-1].full_valid_loss, metrics[-1].full_valid_accuracy) == pytest.approx(expected, rel=1e-5)


def _score_with_transformers(base_path: Path, adapter: Path, rows: list[Row]) -> tuple[float, float]:
    """Mean loss and accuracy over all supervised tokens, row by row, without padding."""
    model = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(base_path, dtype=torch.float32), adapter)
    total = correct = count = 0.0
    for tokens, weights in rows:
        labels_T = torch.from_numpy(tokens).long()
        with torch.no_grad():
            logits_TV = model(labels_T[None]).logits[0, :-1]
        mask_T = torch.from_numpy(weights[1:]) > 0
        losses_T = torch.nn.functional.cross_entropy(logits_TV, labels_T[1:], reduction="none")
        total += float(losses_T[mask_T].sum())
        correct += float((logits_TV.argmax(-1) == labels_T[1:])[mask_T].sum())
        count += float(mask_T.sum())
    return total / count, correct / count


def test_validation_changes_nothing_of_the_training(spec: TrainSpec, unbroken: Run, tmp_path: Path) -> None:
    valid_path = write_rows(tmp_path / "valid.safetensors", make_rows(12, seed=30))
    run = train(msgspec.structs.replace(spec, valid_path=str(valid_path), valid_interval_steps=1), tmp_path)
    assert final_bytes(run) == final_bytes(unbroken)


def test_a_tuned_model_goes_on_where_it_stopped(spec: TrainSpec, unbroken: Run, tmp_path: Path) -> None:
    folder = unbroken.output / unbroken.of(Finished)[0].artefact.path
    run = train(msgspec.structs.replace(spec, init_adapter_path=str(folder), seed=18), tmp_path)
    assert run.losses[0] < 1.2 * unbroken.losses[-1]


def test_full_fine_tuning_writes_a_model_that_transformers_opens(
    spec: TrainSpec, base_path: Path, tmp_path: Path
) -> None:
    spec = msgspec.structs.replace(spec, lora=None, optimizer=OptimizerSpec(learning_rate=0.002))
    run = train(spec, tmp_path)
    assert run.losses[-1] < run.losses[0] / 2
    folder = tmp_path / run.of(Finished)[0].artefact.path
    theirs = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    before = load_file(base_path / "model.safetensors")
    after = load_file(folder / "model.safetensors")
    assert after.keys() == before.keys()
    assert all(not torch.equal(after[name], before[name]) for name in before)
    assert theirs.lm_head.weight.data_ptr() == theirs.model.embed_tokens.weight.data_ptr()


def test_full_fine_tuning_resumes_to_the_same_bytes(spec: TrainSpec, tmp_path: Path) -> None:
    spec = msgspec.structs.replace(spec, lora=None, n_epochs=2, total_steps=8)
    whole = train(spec, tmp_path / "whole")
    slot = start(spec, tmp_path / "e1")
    finish(slot, tmp_path, until=lambda slot: slot.step == 3)
    slot.request_pause()
    (saved,) = finish(slot, tmp_path).of(SnapshotSaved)
    resumed = finish(start(spec, tmp_path / "e2", resume=tmp_path / "e1" / saved.artefact.path), tmp_path / "e2")
    folders = [run.output / run.of(Finished)[0].artefact.path for run in (whole, resumed)]
    assert (folders[0] / "model.safetensors").read_bytes() == (folders[1] / "model.safetensors").read_bytes()


def test_full_fine_tuning_of_a_tuned_model_starts_from_the_merged_weights(
    spec: TrainSpec, unbroken: Run, tmp_path: Path
) -> None:
    folder = unbroken.output / unbroken.of(Finished)[0].artefact.path
    lora = train(msgspec.structs.replace(spec, init_adapter_path=str(folder), total_steps=1), tmp_path / "lora")
    full = train(msgspec.structs.replace(spec, init_adapter_path=str(folder), total_steps=1, lora=None), tmp_path / "f")
    assert full.losses == pytest.approx(lora.losses, rel=1e-5)


def test_bfloat16_base_trains_float32_adapters(spec: TrainSpec, unbroken: Run, tmp_path: Path) -> None:
    run = train(msgspec.structs.replace(spec, dtype="bfloat16"), tmp_path)
    assert run.losses == pytest.approx(unbroken.losses, rel=0.02)
    adapter = load_adapter(tmp_path / run.of(Finished)[0].artefact.path)
    expected = load_adapter(unbroken.output / unbroken.of(Finished)[0].artefact.path)
    change, wanted = (torch.cat([(p.b @ p.a).flatten() for p in a.pairs.values()]) for a in (adapter, expected))
    assert torch.cosine_similarity(change, wanted, dim=0) > 0.995


def test_adapter_that_does_not_fit_the_base_is_refused(
    spec: TrainSpec, unbroken: Run, tmp_path: Path, base_path: Path
) -> None:
    folder = unbroken.output / unbroken.of(Finished)[0].artefact.path
    other = tmp_path / "other"
    other.mkdir()
    config = json.loads((base_path / "config.json").read_text())
    model = LlamaForCausalLM(LlamaForCausalLM.config_class(**{**config, "intermediate_size": 80}))
    model.save_pretrained(other)
    with pytest.raises(ValueError, match=r"mlp\.\w+_proj is .*, the base's is"):
        start(msgspec.structs.replace(spec, base_path=str(other), init_adapter_path=str(folder)), tmp_path)


@pytest.mark.parametrize("lora", [LoraSpec(rank=8, targets=("all-linear",)), None])
def test_architecture_without_own_blocks_trains_too(spec: TrainSpec, tmp_path: Path, lora: LoraSpec | None) -> None:
    torch.manual_seed(5)
    shape = {"vocab_size": 128, "hidden_size": 64, "intermediate_size": 96, "initializer_range": 0.2}
    config = Olmo2Config(**shape, num_hidden_layers=2, num_attention_heads=4, pad_token_id=0)
    Olmo2ForCausalLM(config).save_pretrained(tmp_path / "base")
    spec = msgspec.structs.replace(spec, base_path=str(tmp_path / "base"), lora=lora)
    run = train(spec, tmp_path)
    assert run.losses[-1] < run.losses[0] / 2
    folder = tmp_path / run.of(Finished)[0].artefact.path
    if lora is None:
        theirs = Olmo2ForCausalLM.from_pretrained(folder)
    else:
        theirs = PeftModel.from_pretrained(Olmo2ForCausalLM.from_pretrained(tmp_path / "base"), folder)
    assert theirs(torch.tensor([[5, 6, 7]])).logits.isfinite().all()
