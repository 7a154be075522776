"""Measures held-out accuracy per skill: greedy answers, exact match, unseen values in known and in held-out wordings.

    python scripts/starter/evaluate.py --model src/tunery/starter --count 100
    python scripts/starter/evaluate.py --model src/tunery/starter --best-of 8

The second line asks what reinforcement could gain: how often the greedy answer is right, and how often at least one of
eight answers drawn at temperature 1 is.

Legend: B prompts, T tokens.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from batches import chat_template, load_tokenizer
from corpus.mixture import EXAM, REINFORCEABLE, examine
from corpus.voice import Conversation
from tokenizer import PAD, SPECIAL_TOKENS
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

ANSWER_TOKENS_MAX = 80
EXAM_SEED = 900_001
END_ID = SPECIAL_TOKENS.index("<|end|>")


def prompt_and_answer(conversation: Conversation) -> tuple[str, str]:
    """The rendered prompt up to the generation mark, and the text that should follow, without its end mark."""
    everything = chat_template().render(messages=conversation.messages, tools=conversation.tools)
    prompt = chat_template().render(
        messages=conversation.messages[:-1], tools=conversation.tools, add_generation_prompt=True
    )
    assert everything.startswith(prompt)
    return prompt, everything.removeprefix(prompt).removesuffix("<|end|>")


@torch.inference_mode()
def generate(
    model: LlamaForCausalLM, tokenizer: Tokenizer, prompts: Sequence[str], *, temperature: float, seed: int
) -> list[str]:
    """Answers of at most 80 tokens, left-padded in one batch; temperature 0 is greedy."""
    encoded = [tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
    longest = max(len(ids) for ids in encoded)
    pad = SPECIAL_TOKENS.index(PAD)
    device = model.device
    tokens_BT = torch.tensor([[pad] * (longest - len(ids)) + ids for ids in encoded], device=device)
    mask_BT = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in encoded], device=device)
    torch.manual_seed(seed)
    choice = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    out_BT = model.generate(
        tokens_BT,
        attention_mask=mask_BT,
        max_new_tokens=ANSWER_TOKENS_MAX,
        eos_token_id=END_ID,
        pad_token_id=pad,
        **choice,
    )
    answers = []
    for row in out_BT[:, longest:].tolist():
        stop = row.index(END_ID) if END_ID in row else len(row)
        answers.append(tokenizer.decode(row[:stop], skip_special_tokens=False))
    return answers


def score(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    skill: str,
    *,
    count: int,
    seed: int = EXAM_SEED,
    unheard: bool = True,
) -> tuple[float, list[tuple[str, str, str]]]:
    """The share of exact answers, and the misses as (prompt, wanted, given)."""
    papers = [
        prompt_and_answer(conversation) for conversation in examine(skill, seed=seed, count=count, unheard=unheard)
    ]
    given = generate(model, tokenizer, [prompt for prompt, _ in papers], temperature=0.0, seed=0)
    misses = [(prompt, wanted, got) for (prompt, wanted), got in zip(papers, given, strict=True) if wanted != got]
    return 1 - len(misses) / count, misses


def best_of(
    model: LlamaForCausalLM, tokenizer: Tokenizer, papers: list[tuple[str, str]], *, samples: int
) -> tuple[float, float]:
    """Share of prompts answered by the greedy answer, and by at least one of `samples` drawn at temperature 1."""
    prompts, wanted = zip(*papers, strict=True)
    greedy = generate(model, tokenizer, prompts, temperature=0.0, seed=0)
    hits = [False] * len(papers)
    for seed in range(samples):
        drawn = generate(model, tokenizer, prompts, temperature=1.0, seed=seed)
        hits = [hit or got == right for hit, got, right in zip(hits, drawn, wanted, strict=True)]
    right_greedily = sum(got == right for got, right in zip(greedy, wanted, strict=True))
    return right_greedily / len(papers), sum(hits) / len(papers)


def load(folder: Path, *, device: str) -> tuple[LlamaForCausalLM, Tokenizer]:
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    return model, load_tokenizer(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--best-of", type=int, default=0, help="compare greedy answers with so many drawn ones")
    parser.add_argument("--skills", nargs="+", choices=EXAM, default=list(EXAM))
    parser.add_argument("--misses", type=int, default=0, help="show so many wrong answers per skill")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model, tokenizer = load(arguments.model, device=arguments.device)
    if arguments.best_of:
        for skill in REINFORCEABLE:
            papers = [
                prompt_and_answer(paper)
                for paper in examine(skill, seed=EXAM_SEED, count=arguments.count, unheard=False)
            ]
            greedy, best = best_of(model, tokenizer, papers, samples=arguments.best_of)
            print(json.dumps({"skill": skill, "greedy": greedy, f"best_of_{arguments.best_of}": best}), flush=True)
        return
    for skill in arguments.skills:
        known, _ = score(model, tokenizer, skill, count=arguments.count, unheard=False)
        unheard, misses = score(model, tokenizer, skill, count=arguments.count)
        print(json.dumps({"skill": skill, "known_wording": known, "held_out_wording": unheard}), flush=True)
        for prompt, wanted, got in misses[: arguments.misses]:
            print(f"    {prompt!r}\n      wanted {wanted!r}\n      got    {got!r}")


if __name__ == "__main__":
    main()
