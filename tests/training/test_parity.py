"""The same job in TRL's SFT trainer and in ours: the same losses and gradients, and a wrong trainer is told apart.

Bound (float32): |ours - theirs| <= 1e-5 max(loss, 0.1) at each of 50 steps over which the loss falls by more than
half, and the gradient at step 0 within 1e-5 of its norm. Each mutant breaks one thing that a trainer may get wrong
and must break the bound.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from tokenizers import Tokenizer, models
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from tests.training.runs import STOP, VOCAB_SIZE, Row, make_spec, start, train, write_rows
from tunery.data.tokens import TokenFile
from tunery.modeling.loading import load_model
from tunery.modeling.lora import new_adapter, save_adapter
from tunery.training.batches import shuffle
from tunery.training.spec import LoraSpec, OptimizerSpec, TrainSpec

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

STEPS = 50


@dataclass
class Curve:
    losses: list[float]
    first_gradients: dict[str, torch.Tensor]
    """By PEFT's parameter name, before clipping."""


def agree(ours: Curve, theirs: Curve) -> bool:
    return _losses_agree(ours.losses, theirs.losses) and _gradients_agree(ours, theirs)


def _losses_agree(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    return len(ours) == len(theirs) and all(abs(a - b) <= 1e-5 * max(b, 0.1) for a, b in zip(ours, theirs, strict=True))


def _gradients_agree(ours: Curve, theirs: Curve) -> bool:
    assert ours.first_gradients.keys() == theirs.first_gradients.keys()
    norm = sum(float(gradient.square().sum()) for gradient in theirs.first_gradients.values()) ** 0.5
    return all(
        float((gradient - ours.first_gradients[name]).norm()) <= 1e-5 * norm
        for name, gradient in theirs.first_gradients.items()
    )


class RecordingTrainer(SFTTrainer):
    """TRL's trainer that keeps each step's loss and the first step's gradients."""

    curve: Curve

    def training_step(
        self, model: torch.nn.Module, inputs: dict, num_items_in_batch: int | None = None
    ) -> torch.Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.curve.losses.append(float(loss))
        if not self.curve.first_gradients:
            named = ((name, tensor) for name, tensor in model.named_parameters() if tensor.grad is not None)
            self.curve.first_gradients = {_plain(name): tensor.grad.clone() for name, tensor in named}
        return loss


def _plain(name: str) -> str:
    """PEFT's parameter name as ours: model.layers.0.self_attn.q_proj.A."""
    return name.removeprefix("base_model.model.").replace(".lora_", ".").replace(".default.weight", "")


@pytest.fixture(scope="module")
def spec(base_path: Path, rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> TrainSpec:
    """50 steps from an adapter whose bytes both trainers read from the same file; whole batches of four only."""
    folder = tmp_path_factory.mktemp("job")
    spec = make_spec(
        base_path,
        write_rows(folder / "train.safetensors", rows[:12]),
        n_rows=12,
        n_epochs=17,
        optimizer=OptimizerSpec(learning_rate=0.003, warmup_steps=5),
    )
    assert isinstance(spec.lora, LoraSpec)
    base = load_model(base_path, dtype=torch.float32)
    adapter = new_adapter(base.linear_shapes, rank=4, alpha=8.0, targets=spec.lora.targets, seed=1)
    save_adapter(folder, adapter, base_name=str(base_path))
    return msgspec.structs.replace(spec, init_adapter_path=str(folder), total_steps=STEPS)


@pytest.fixture(scope="module")
def theirs(spec: TrainSpec, rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Curve:
    order = np.concatenate([shuffle(12, seed=spec.seed, epoch=epoch) for epoch in range(spec.n_epochs)])
    model = PeftModel.from_pretrained(
        LlamaForCausalLM.from_pretrained(spec.base_path, dtype=torch.float32), spec.init_adapter_path, is_trainable=True
    )
    trainer = RecordingTrainer(
        model=model,
        args=_trl_config(spec, tmp_path_factory.mktemp("trl")),
        train_dataset=Dataset.from_list([_labelled(rows[index]) for index in order]),
        processing_class=_tokenizer(),
    )
    trainer.curve = Curve([], {})
    trainer.train()
    return trainer.curve


def _labelled(row: Row) -> dict[str, list[int]]:
    tokens, weights = row
    labels = np.where(weights > 0, tokens, -100)
    return {"input_ids": tokens.tolist(), "labels": labels.tolist()}


def _trl_config(spec: TrainSpec, folder: Path) -> SFTConfig:
    return SFTConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=spec.batch_size,
        max_steps=STEPS,
        learning_rate=spec.optimizer.learning_rate,
        warmup_steps=spec.optimizer.warmup_steps,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=spec.optimizer.grad_norm_max,
        train_sampling_strategy="sequential",
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    words = {f"t{index}": index for index in range(VOCAB_SIZE)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t0"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="t0", eos_token=f"t{STOP}")


def run_ours(spec: TrainSpec, output: Path) -> Curve:
    slot = start(spec, output / "first-step")
    slot.advance()
    while slot.request is not None:
        slot.advance()
    gradients = {name: tensor.grad.clone() for name, tensor in slot.weights.parameters().items()}
    return Curve(train(spec, output / "whole").losses, gradients)


def test_losses_and_gradients_equal_trl(spec: TrainSpec, theirs: Curve, tmp_path: Path) -> None:
    ours = run_ours(spec, tmp_path)
    assert len(theirs.losses) == STEPS
    assert theirs.losses[-1] < theirs.losses[0] / 2
    assert agree(ours, theirs)


def double_alpha(spec: TrainSpec, folder: Path) -> TrainSpec:
    config = folder / "adapter_config.json"
    shutil.copytree(spec.init_adapter_path, folder, dirs_exist_ok=True)
    config.write_text(json.dumps({**json.loads(config.read_text()), "lora_alpha": 16.0}))
    return msgspec.structs.replace(spec, init_adapter_path=str(folder))


def shift_labels(spec: TrainSpec, folder: Path) -> TrainSpec:
    """Supervise one token too early: the prompt's last token becomes a label, the stop token is none."""
    return _reweigh(spec, folder, lambda weights: np.append(weights[1:], 0.0))


def leave_out_stop(spec: TrainSpec, folder: Path) -> TrainSpec:
    return _reweigh(spec, folder, lambda weights: np.append(weights[:-1], 0.0))


def round_to_bfloat16(spec: TrainSpec, folder: Path) -> TrainSpec:
    return msgspec.structs.replace(spec, dtype="bfloat16")


def _reweigh(spec: TrainSpec, folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> TrainSpec:
    examples = TokenFile(Path(spec.train_path))
    changed = [(tokens, change(weights)) for tokens, weights in map(examples.row, range(len(examples)))]
    return msgspec.structs.replace(spec, train_path=str(write_rows(folder / "mutant.safetensors", changed)))


@pytest.mark.parametrize("mutate", [double_alpha, shift_labels, leave_out_stop, round_to_bfloat16])
def test_a_wrong_trainer_is_told_apart(
    mutate: Callable[[TrainSpec, Path], TrainSpec], spec: TrainSpec, theirs: Curve, tmp_path: Path
) -> None:
    mutant = run_ours(mutate(spec, tmp_path), tmp_path / "output")
    assert not _losses_agree(mutant.losses, theirs.losses)


def test_bfloat16_losses_stay_within_a_hundredth(spec: TrainSpec, theirs: Curve, tmp_path: Path) -> None:
    rounded = run_ours(round_to_bfloat16(spec, tmp_path), tmp_path / "output")
    assert all(abs(a - b) <= 0.01 * max(b, 0.1) for a, b in zip(rounded.losses, theirs.losses, strict=True))
