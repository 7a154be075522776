"""Tiny models' tokenizer folders, each with the habits of a family whose templates differ: written for these tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

CORPUS = [
    "The quick brown fox jumps over the lazy dog. What is the capital of France? Paris is the capital of France.",
    "user assistant system tool function name arguments parameters city get_weather Hello! How are you today?",
    "Natalia sold 48/2 = 24 clips in May.\nShe sold 48+24 = 72 clips altogether.\n#### 72\n\n",
    'Grüße aus Köln, naïve café, こんにちは世界, 🙂🙃, {"city": "Paris", "unit": "celsius"}  \n\n  indented\n',
] * 4
WORDS = Regex(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHATML = """\
{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% elif messages and messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'system' and loop.first %}{% continue %}{% endif %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ message.role }}
{% if message.content %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] %}
{% if not loop.first or message.content %}{{ '\\n' }}{% endif %}<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

LLAMA3 = """\
{{- bos_token }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""

GEMMA = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{- '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

MISTRAL = """\
{{- bos_token }}
{%- if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set messages = messages[1:] %}{% endif %}
{%- for message in messages %}
{%- if message.role == 'user' %}
{{- '[INST] ' }}{% if loop.last and system is defined %}{{ system + '\\n\\n' }}{% endif %}
{{- message.content + ' [/INST]' }}
{%- elif message.role == 'assistant' %}{{ ' ' + message.content | trim + eos_token }}
{%- else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}
{%- endfor %}"""

QWEN3 = """\
{%- set ns = namespace(last=-1) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
{%- set content = message.content %}{% set thought = '' %}
{%- if message.role == 'assistant' and '</think>' in content %}
{%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and loop.index0 > ns.last and (loop.last or thought) %}
{{- '<think>\\n' + thought + '\\n</think>\\n\\n' }}
{%- endif %}
{{- content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}"""

PHI = """\
{%- for message in messages %}{{ '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

HARMONY = """\
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{{- '<|start|>assistant<|channel|>final<|message|>' + message.content }}{{ '<|return|>' if loop.last else '<|end|>' }}
{%- else %}{{ '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"""


def byte_level(special: list[str | AddedToken], *, plain: list[str] = ()) -> Tokenizer:  # type: ignore[assignment]
    """Byte-level BPE, as in GPT-2, Llama 3 and Qwen."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(WORDS, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(tokenizer, special, plain=plain, alphabet=pre_tokenizers.ByteLevel.alphabet())


def metaspace(special: list[str | AddedToken], *, scheme: str) -> Tokenizer:
    """BPE over a marked blank with single bytes for what is unknown, as in Llama 2, Mistral and Gemma."""
    tokenizer = Tokenizer(BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if scheme == "normalizer":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    octets = [f"<0x{byte:02X}>" for byte in range(256)]
    trained = _trained(tokenizer, ["<unk>", *special], plain=[], alphabet=[])
    rules = json.loads(trained.to_str())
    for octet in octets:
        rules["model"]["vocab"].setdefault(octet, max(rules["model"]["vocab"].values()) + 1)
    return Tokenizer.from_str(json.dumps(rules))


def _trained(
    tokenizer: Tokenizer, special: list[str | AddedToken], *, plain: list[str], alphabet: list[str]
) -> Tokenizer:
    trainer = BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in plain])
    return tokenizer


def write_folder(
    folder: Path,
    tokenizer: Tokenizer,
    *,
    config: Mapping[str, Any],
    template: str | None = None,
    generation_config: Mapping[str, Any] | None = None,
) -> Path:
    """A model folder's text side."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(config)))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    if generation_config is not None:
        (folder / "generation_config.json").write_text(json.dumps(dict(generation_config)))
    return folder


def write_family(name: str, folder: Path) -> Path:
    """The folder of one family by name, a key of FAMILIES."""
    return FAMILIES[name](folder)


def _chatml(folder: Path) -> Path:
    tokenizer = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], plain=["<tool_call>", "</tool_call>"])
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return write_folder(folder, tokenizer, config=names | {"chat_template": CHATML})


def _llama3(folder: Path) -> Path:
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    config = {"bos_token": {"__type": "AddedToken", "content": "<|begin_of_text|>"}, "eos_token": "<|end_of_text|>"}
    return write_folder(folder, byte_level(list(special)), config=config, template=LLAMA3)


def _gemma(folder: Path) -> Path:
    tokenizer = metaspace(["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"], scheme="never")
    ids = [tokenizer.token_to_id(text) for text in ("<eos>", "<end_of_turn>")]
    config = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    return write_folder(folder, tokenizer, config=config, template=GEMMA, generation_config={"eos_token_id": ids})


def _mistral(folder: Path, *, scheme: str) -> Path:
    config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return write_folder(folder, metaspace(["<s>", "</s>"], scheme=scheme), config=config, template=MISTRAL)


def _qwen3(folder: Path) -> Path:
    tokenizer = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], plain=["<think>", "</think>"])
    config = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return write_folder(folder, tokenizer, config=config, template=QWEN3)


def _phi(folder: Path) -> Path:
    """Padding is the end of sequence; role tokens swallow the line break after them."""
    roles = [
        AddedToken(f"<|{name}|>", rstrip=True, special=True, normalized=False)
        for name in ("user", "assistant", "end", "system")
    ]
    config = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    return write_folder(folder, byte_level(["<|endoftext|>", *roles]), config=config, template=PHI)


def _gpt2(folder: Path) -> Path:
    """No template, no padding token."""
    return write_folder(folder, byte_level(["<|endoftext|>"]), config={"eos_token": "<|endoftext|>"})


def _harmony(folder: Path) -> Path:
    special = ["<|endoftext|>", "<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"]
    tokenizer = byte_level(list(special))
    ids = [tokenizer.token_to_id(text) for text in ("<|return|>", "<|endoftext|>")]
    config = {"eos_token": "<|return|>"}
    return write_folder(folder, tokenizer, config=config, template=HARMONY, generation_config={"eos_token_id": ids})


FAMILIES = {
    "chatml": _chatml,
    "llama3": _llama3,
    "gemma": _gemma,
    "mistral": lambda folder: _mistral(folder, scheme="always"),
    "mistral_first": lambda folder: _mistral(folder, scheme="first"),
    "mistral_legacy": lambda folder: _mistral(folder, scheme="normalizer"),
    "qwen3": _qwen3,
    "phi": _phi,
    "gpt2": _gpt2,
    "harmony": _harmony,
}
