"""Trains the byte-level BPE tokenizer on generated text and writes it with the chat template for transformers."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from corpus.mixture import PHASES, stream
from corpus.prose import paragraph
from corpus.voice import Voice
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).parent
VOCABULARY = 3072
POSITIONS_MAX = 2048
PAD, BOS, END = "<|pad|>", "<|bos|>", "<|end|>"
ROLE_MARKS = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
CALL_MARKS = ("<|tool_call|>", "<|/tool_call|>")
SPECIAL_TOKENS = (PAD, BOS, END, *ROLE_MARKS, *CALL_MARKS)
# Words with their leading space, single digits, runs of punctuation, white space: digits stand alone so that sums can
# be learnt place by place.
PIECES = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CONVERSATIONS, PARAGRAPHS = 12_000, 60_000


def tokenizer_text(*, seed: int) -> Iterator[str]:
    for conversation in itertools.islice(stream(seed=seed, phase=PHASES[0]), CONVERSATIONS):
        for message in conversation.messages:
            yield message["content"] or json.dumps(message["tool_calls"][0]["function"])
    voice = Voice(seed=seed)
    for _ in range(PARAGRAPHS):
        yield paragraph(voice)


def train_tokenizer(*, seed: int) -> Tokenizer:
    """A byte-level BPE: its alphabet holds all 256 bytes, so any text comes back as it went in."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(tokenizer_text(seed=seed), trainer)
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": [*ROLE_MARKS, *CALL_MARKS],
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": POSITIONS_MAX,
        "padding_side": "right",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    shutil.copy(HERE / "chat_template.jinja", folder / "chat_template.jinja")
