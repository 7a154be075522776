"""Fine-tunes the starter on its packaged sample at several learning rates, to find the one that suits it best.

    python scripts/starter/tune.py --model src/tunery/starter --rates 1e-3 2e-3 3e-3 5e-3

What a supervised job does by default: LoRA r16, alpha 32, all linear layers, AdamW, linear decay, float32; here 24
rows, batch 4, 4 epochs, loss on the answers alone.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from pathlib import Path

import torch
from batches import chat_template
from evaluate import END_ID, generate, load
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from torch.nn import functional as F

LINEAR_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
EPOCHS, BATCH = 4, 4
Row = tuple[list[int], int]


def read_rows(path: Path, tokenizer: Tokenizer) -> list[Row]:
    """Each row's tokens and where its answer begins."""
    rows = []
    for line in path.read_text().splitlines():
        messages = json.loads(line)["messages"]
        prompt = chat_template().render(messages=messages[:-1], add_generation_prompt=True)
        whole = chat_template().render(messages=messages)
        count = len(tokenizer.encode(prompt, add_special_tokens=False).ids)
        rows.append((tokenizer.encode(whole, add_special_tokens=False).ids, count))
    return rows


def answer_loss(model: torch.nn.Module, rows: list[Row]) -> torch.Tensor:
    """Mean over all answer tokens of the rows, the end mark included."""
    longest = max(len(tokens) for tokens, _ in rows)
    tokens_BT = torch.tensor([tokens + [END_ID] * (longest - len(tokens)) for tokens, _ in rows])
    labels_BT = tokens_BT.clone()
    for b, (tokens, start) in enumerate(rows):
        labels_BT[b, :start] = -100
        labels_BT[b, len(tokens) :] = -100
    logits_BTV = model(input_ids=tokens_BT).logits
    return F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten())


def tune(folder: Path, samples: Path, *, rate: float, seed: int, prompts: list[str]) -> dict[str, object]:
    torch.manual_seed(seed)
    model, tokenizer = load(folder, device="cpu")
    train = read_rows(samples / "support.jsonl", tokenizer)
    held_out = read_rows(samples / "support_valid.jsonl", tokenizer)
    before = loss_of(model, train), loss_of(model, held_out)
    adapter = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR_LAYERS))
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=rate, weight_decay=0.0)
    steps = EPOCHS * math.ceil(len(train) / BATCH)
    order = random.Random(seed)
    step = 0
    for _ in range(EPOCHS):
        shuffled = order.sample(train, len(train))
        for start in range(0, len(shuffled), BATCH):
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 - step / steps)
            answer_loss(adapter, shuffled[start : start + BATCH]).backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    answers = generate(adapter, tokenizer, prompts, temperature=0.0, seed=0)
    right = sum(got == wanted for got, wanted in zip(answers, wanted_answers(samples), strict=False))
    return {
        "rate": rate,
        "train": [round(before[0], 3), round(loss_of(adapter, train), 3)],
        "held_out": [round(before[1], 3), round(loss_of(adapter, held_out), 3)],
        "held_out_exact": right,
        "answers": answers,
    }


@torch.inference_mode()
def loss_of(model: torch.nn.Module, rows: list[Row]) -> float:
    return answer_loss(model, rows).item()


def wanted_answers(samples: Path) -> list[str]:
    lines = (samples / "support_valid.jsonl").read_text().splitlines()
    return [json.loads(line)["messages"][-1]["content"] for line in lines]


def held_out_prompts(samples: Path) -> list[str]:
    lines = (samples / "support_valid.jsonl").read_text().splitlines()
    return [
        chat_template().render(messages=json.loads(line)["messages"][:-1], add_generation_prompt=True) for line in lines
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--samples", type=Path, help="folder of support.jsonl; default: the model's own")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-3, 3e-3, 5e-3])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    samples = arguments.samples or arguments.model / "samples"
    for rate in arguments.rates:
        found = tune(arguments.model, samples, rate=rate, seed=arguments.seed, prompts=held_out_prompts(samples))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
