"""Tiny jobs for the training tests: a random base, examples that can be learned, and slots run to their end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tunery.data.tokens import TokenFileWriter
from tunery.modeling.loading import load_model
from tunery.training.reports import Body, Stepped
from tunery.training.slots import Slot, open_slot
from tunery.training.spec import LoraSpec, OptimizerSpec, TrainSpec

VOCAB_SIZE = 128
STOP = 127

Row = tuple[np.ndarray, np.ndarray]


def make_base(folder: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """A random Llama of 0.1M weights, saved as transformers saves it."""
    torch.manual_seed(11)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=STOP,
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    return folder


def make_rows(n_rows: int, *, seed: int, stride: int = 3, length_max: int = 90) -> list[Row]:
    """Random prompts; answers walk around eight tokens by `stride` from where the prompt's last says; then STOP."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(n_rows):
        prompt = generator.integers(2, 100, size=int(generator.integers(4, length_max // 2)))
        answer = 100 + (prompt[-1] + stride * np.arange(int(generator.integers(4, length_max // 2)))) % 8
        tokens = np.concatenate([prompt, answer, [STOP]]).astype(np.int32)
        weights = np.concatenate([np.zeros(len(prompt)), np.ones(len(answer) + 1)]).astype(np.float32)
        rows.append((tokens, weights))
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    with TokenFileWriter(path, max_length=512) as writer:
        for line, (tokens, weights) in enumerate(rows, start=1):
            writer.add(tokens, weights, line=line, n_billed_tokens=len(tokens))
    return path


def make_spec(base_path: Path, train_path: Path, *, n_rows: int, n_epochs: int = 3, **changes: object) -> TrainSpec:
    """Batches of four, LoRA of rank 4, everything else as usual; `changes` replace fields."""
    batch_size = changes.get("batch_size", 4)
    assert isinstance(batch_size, int)
    spec = TrainSpec(
        job_id="ftjob-test",
        method="supervised",
        base_path=str(base_path),
        base_sha256="0" * 64,
        init_adapter_path=None,
        train_path=str(train_path),
        valid_path=None,
        n_epochs=n_epochs,
        batch_size=4,
        n_examples=n_rows,
        total_steps=n_epochs * -(-n_rows // batch_size),
        lora=LoraSpec(rank=4, alpha=8.0),
        optimizer=OptimizerSpec(learning_rate=0.01),
        seed=17,
        device="cpu",
        dtype="float32",
        micro_batch_tokens_max=160,
    )
    return msgspec.structs.replace(spec, **changes)


@dataclass
class Run:
    """A slot's reports and where its files are."""

    output: Path
    bodies: list[Body]

    @property
    def losses(self) -> list[float]:
        return [body.metrics.train_loss for body in self.bodies if isinstance(body, Stepped)]

    def of(self, kind: type) -> list:
        return [body for body in self.bodies if isinstance(body, kind)]


def start(spec: TrainSpec, output: Path, *, resume: Path | None = None) -> Slot:
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[spec.dtype]
    base = load_model(Path(spec.base_path), dtype=dtype)
    return open_slot(spec, base, output_path=output, resume_path=resume)


def finish(slot: Slot, output: Path, *, until: Callable[[Slot], bool] = lambda slot: False) -> Run:
    """Advance to the end, or until a condition holds between two calls."""
    bodies: list[Body] = []
    while not slot.done and not until(slot):
        bodies += slot.advance()
    return Run(output, bodies)


def train(spec: TrainSpec, output: Path) -> Run:
    return finish(start(spec, output), output)
