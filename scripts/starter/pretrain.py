"""Trains the starter model from nothing on the generated stream, resumably, and writes its folder as it goes.

    python scripts/starter/pretrain.py --out build/starter --steps 4000

Pretraining and chat tuning are one: every conversation is read whole, its answers weigh ten times as much as what they
answer. The data depend on the seed and the step alone, so a resumed run reads what the unbroken one would have read.

Legend: R rows in a batch, T tokens in a row, V vocabulary.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from batches import Batch, Packer, collate, load_tokenizer
from corpus.mixture import phase_at
from model import build_config, write_model
from tokenizer import train_tokenizer, write_tokenizer
from torch.nn import functional as F
from transformers import LlamaForCausalLM

STEPS_PER_CHUNK = 50
ROW = 256
GRADIENT_NORM_MAX = 1.0
LONG_ROWS_PER_BATCH = 4


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights besides the machine."""

    seed: int
    steps: int
    rows: int
    matrix_learning_rate: float
    vector_learning_rate: float
    warmup_share: float = 0.02
    decay_share: float = 0.6
    weight_decay: float = 0.02


def learning_rate_factor(recipe: Recipe, *, step: int) -> float:
    """A trapezium: linear warm-up, level, linear decay to zero over the last `decay_share` of the steps."""
    warmup = min(1.0, (step + 1) / (recipe.warmup_share * recipe.steps))
    decay = min(1.0, (recipe.steps - step) / (recipe.decay_share * recipe.steps))
    return min(warmup, decay)


def build_optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks (Jordan et al. 2024), AdamW for the embedding and the norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed_tokens" in name]
    muon = torch.optim.Muon(
        matrices, lr=recipe.matrix_learning_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(others, lr=recipe.vector_learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    return [muon, adamw]


def batch_loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Weighted mean of the cross entropy of each next token, in nats."""
    device = batch.tokens_RT.device.type
    with torch.autocast(device, torch.bfloat16):
        hidden_RTD = model.model(
            input_ids=batch.tokens_RT,
            attention_mask=additive_mask(batch),
            position_ids=batch.positions_RT,
            use_cache=False,
        ).last_hidden_state
        logits_RTV = model.lm_head(hidden_RTD[:, :-1])
    weights = batch.weights_RT[:, 1:].reshape(-1)
    losses = F.cross_entropy(
        logits_RTV.reshape(-1, logits_RTV.shape[-1]), batch.tokens_RT[:, 1:].reshape(-1), reduction="none"
    )
    return (losses.float() * weights).sum() / weights.sum()


def additive_mask(batch: Batch) -> torch.Tensor:
    seen_R1TT = batch.seen()
    return torch.zeros(seen_R1TT.shape, dtype=torch.bfloat16, device=seen_R1TT.device).masked_fill(~seen_R1TT, -1e4)


def batches_of_chunk(tokenizer_folder: Path, recipe: Recipe, *, chunk: int) -> Iterator[Batch]:
    """The batches of one chunk of steps: short rows, then the first long chats that turned up."""
    phase = phase_at(chunk * STEPS_PER_CHUNK / recipe.steps)
    tokenizer = load_tokenizer(tokenizer_folder)
    packer = Packer(tokenizer=tokenizer, seed=recipe.seed * 1_000_003 + chunk, phase=phase, length=ROW)
    batches = packer.batches(count=recipe.rows)
    for _ in range(STEPS_PER_CHUNK - 1):
        yield next(batches)
    if packer.long:
        rows = [[item] for item in packer.long[:LONG_ROWS_PER_BATCH]]
        yield collate(rows, length=max(len(row[0][0]) for row in rows))
    else:
        yield next(batches)


def move(batch: Batch, device: str) -> Batch:
    return Batch(**{name: value.to(device) for name, value in vars(batch).items()})


@dataclass
class Run:
    """A run under way: model, optimizers and how far it is."""

    model: LlamaForCausalLM
    optimizers: list[torch.optim.Optimizer]
    recipe: Recipe
    out: Path
    step: int = 0
    tokens: int = 0

    def save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "tokens": self.tokens,
        }
        torch.save(state, self.out / "checkpoint.part")
        (self.out / "checkpoint.part").replace(self.out / "checkpoint.pt")
        write_model(self.model, self.out / "model")
        facts = {"recipe": asdict(self.recipe), "step": self.step, "tokens": self.tokens}
        (self.out / "training.json").write_text(json.dumps(facts, indent=2) + "\n")

    def resume(self) -> None:
        state = torch.load(self.out / "checkpoint.pt", weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.tokens = state["step"], state["tokens"]


def take_step(run: Run, batch: Batch, *, loss_of: Callable[[LlamaForCausalLM, Batch], torch.Tensor]) -> float:
    """One update of all weights; the loss before it."""
    factor = learning_rate_factor(run.recipe, step=run.step)
    rates = run.recipe.matrix_learning_rate, run.recipe.vector_learning_rate
    for optimizer, rate in zip(run.optimizers, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
    loss = loss_of(run.model, batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), GRADIENT_NORM_MAX)
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    run.step += 1
    run.tokens += int((batch.documents_RT >= 0).sum())
    return loss.item()


def train(run: Run, *, device: str, compiled: bool, save_seconds: float, say: Callable[[str], None]) -> None:
    """Steps until the recipe's last one, saving every `save_seconds` and at the end."""
    fast_loss = torch.compile(batch_loss, dynamic=False) if compiled else batch_loss
    started = saved = time.monotonic()
    tokens_before, recent_loss = run.tokens, 0.0
    while run.step < run.recipe.steps:
        chunk = run.step // STEPS_PER_CHUNK
        fresh = itertools.islice(
            batches_of_chunk(run.out / "model", run.recipe, chunk=chunk), run.step % STEPS_PER_CHUNK, None
        )
        for cpu_batch in itertools.islice(fresh, run.recipe.steps - run.step):
            batch = move(cpu_batch, device)
            # Only the common shape is compiled: a batch of long chats would be compiled anew each time.
            loss = take_step(run, batch, loss_of=fast_loss if batch.tokens_RT.shape[1] == ROW else batch_loss)
            recent_loss = loss if recent_loss == 0.0 else 0.95 * recent_loss + 0.05 * loss
            if run.step % 20 == 0:
                speed = (run.tokens - tokens_before) / (time.monotonic() - started)
                say(f"step {run.step} loss {recent_loss:.4f} tokens {run.tokens:,} speed {speed:,.0f}/s")
            if time.monotonic() - saved > save_seconds:
                run.save()
                saved = time.monotonic()
    run.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5600)
    parser.add_argument("--rows", type=int, default=16, help="rows of 256 tokens a step")
    parser.add_argument("--matrix-learning-rate", type=float, default=3e-3)
    parser.add_argument("--vector-learning-rate", type=float, default=3e-3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--save-seconds", type=float, default=240)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    recipe = Recipe(
        seed=arguments.seed,
        steps=arguments.steps,
        rows=arguments.rows,
        matrix_learning_rate=arguments.matrix_learning_rate,
        vector_learning_rate=arguments.vector_learning_rate,
    )
    model = LlamaForCausalLM(build_config()).to(arguments.device)
    run = Run(model, build_optimizers(model, recipe), recipe, arguments.out)
    if (arguments.out / "checkpoint.pt").exists():
        run.resume()
    else:
        write_tokenizer(train_tokenizer(seed=arguments.seed), arguments.out / "model")
    compiled = not arguments.no_compile
    train(
        run,
        device=arguments.device,
        compiled=compiled,
        save_seconds=arguments.save_seconds,
        say=lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    main()
