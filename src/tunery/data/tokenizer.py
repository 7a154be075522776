"""A model folder's tokenizer without transformers: the files are read once, here, and everything else asks this class.

Only `tokenizer.json` is needed; special tokens, chat templates and the ids that end a generation are taken from the
files that lie beside it, where a model has them.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

_TEMPLATE_FILE = "chat_template.jinja"
_TEMPLATE_FOLDER = "additional_chat_templates"
_JSON_FILES = ("tokenizer_config.json", "special_tokens_map.json", "config.json", "generation_config.json")


class TokenizerUnusable(ValueError):
    """The folder has no tokenizer that works without transformers; the text says what is missing."""


class Tokenizer:
    """Text to token ids and back. Immutable after loading; threads may share it."""

    def __init__(self, folder: Path) -> None:
        """Raises TokenizerUnusable when the folder lacks a readable tokenizer.json."""
        self.folder = folder
        if "model" not in _read_object(folder / "tokenizer.json"):
            raise TokenizerUnusable(f"{folder} has no tokenizer.json with a tokenizer in it")
        self._backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._backend.no_truncation()
        self._backend.no_padding()
        config, special_map, model_config, generation_config = (_read_object(folder / name) for name in _JSON_FILES)
        self._add_missing(config)
        self.special_strings = _special_strings(special_map | config)
        """Name in the configuration, such as eos_token, to its text."""
        self.templates = _chat_templates(folder, config)
        """Name of a chat template to its source; empty for a base model without one."""
        self.added_tokens: dict[int, tokenizers.AddedToken] = self._backend.get_added_tokens_decoder()
        self.eos_tokens = self._eos_tokens(model_config, generation_config)
        """Every id that the model's files say ends a generation."""

    def _add_missing(self, config: dict[str, Any]) -> None:
        """Some folders declare added tokens only in the configuration."""
        declared = config.get("added_tokens_decoder") or {}
        for token_id, fields in sorted(declared.items(), key=lambda item: int(item[0])):
            if self._backend.token_to_id(fields["content"]) is None:
                self._backend.add_tokens([tokenizers.AddedToken(**fields)])
            if self._backend.token_to_id(fields["content"]) != int(token_id):
                raise TokenizerUnusable(f"tokenizer_config.json places {fields['content']!r} at another id")

    def _eos_tokens(self, *configs: dict[str, Any]) -> tuple[int, ...]:
        found = [self.token_id("eos_token")]
        for config in configs:
            ids = config.get("eos_token_id")
            found += ids if isinstance(ids, list) else [ids]
        return tuple(dict.fromkeys(token for token in found if token is not None))

    def token_id(self, name: str) -> int | None:
        """The id of a special token by its name in the configuration, such as bos_token; None where it is not set."""
        if name not in self.special_strings:
            return None
        token: int | None = self._backend.token_to_id(self.special_strings[name])
        return token

    @property
    def eos(self) -> int | None:
        return self.eos_tokens[0] if self.eos_tokens else None

    @property
    def bos(self) -> int | None:
        return self.token_id("bos_token")

    @property
    def pad(self) -> int | None:
        """Falls back to the end-of-sequence token, as models without a padding token do. Never a reason to mask it."""
        pad = self.token_id("pad_token")
        return self.eos if pad is None else pad

    @cached_property
    def special_tokens(self) -> dict[str, int]:
        """Text to id of every token that steers the model: those marked special and those the configuration names."""
        named = (self._backend.token_to_id(text) for text in self.special_strings.values())
        marked = (token for token, added in self.added_tokens.items() if added.special)
        ids = {
            token for token in (*named, *marked, *self.eos_tokens) if token is not None and token in self.added_tokens
        }
        return {self.added_tokens[token].content: token for token in sorted(ids)}

    @cached_property
    def vocabulary_size(self) -> int:
        """One more than the largest id."""
        return max(self._backend.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every file that decides how text becomes tokens: a part of cache keys."""
        digest = hashlib.sha256()
        names = ["tokenizer.json", *_JSON_FILES, _TEMPLATE_FILE]
        paths = [self.folder / name for name in names] + sorted((self.folder / _TEMPLATE_FOLDER).glob("*.jinja"))
        for path in paths:
            data = path.read_bytes() if path.is_file() else b""
            digest.update(f"{path.name}\0{len(data)}\0".encode() + data)
        return digest.hexdigest()

    @cached_property
    def prompt_prefix(self) -> tuple[int, ...]:
        """The tokens that the model expects before raw text: its bos token where the tokenizer's own rules add one."""
        start = self._backend.encode("", add_special_tokens=True).ids[:1]
        return tuple(start) if start == [self.bos] else ()

    def encode(self, text: str) -> list[int]:
        """Ids of the text. Special tokens spelled in it become special tokens; none is added around it."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """As `encode`, for many texts at once on all cores."""
        return [encoding.ids for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_pieces(self, pieces: Sequence[str]) -> list[int]:
        """Ids of texts that follow each other, no token spanning two of them and no blank slipping in between."""
        ids = self.encode(pieces[0])
        for piece in pieces[1:]:
            ids += self._encode_continuation(piece)
        return ids

    def _encode_continuation(self, piece: str) -> list[int]:
        """SentencePiece-like tokenizers put a blank before a text; a piece that goes on from another must not get it.

        Only the piece up to its first added token is encoded without that rule: what follows an added token is
        treated by the tokenizer as it would be in a whole text.
        """
        if self._continuation is None:
            return self.encode(piece)
        start = min((at for at in map(piece.find, self._added_texts) if at >= 0), default=len(piece))
        head: list[int] = self._continuation.encode(piece[:start], add_special_tokens=False).ids
        return head + self.encode(piece[start:])

    @cached_property
    def _added_texts(self) -> tuple[str, ...]:
        return tuple(added.content for added in self.added_tokens.values())

    @cached_property
    def _continuation(self) -> tokenizers.Tokenizer | None:
        rules = json.loads(self._backend.to_str())
        bare = rules | {key: _without_prefix(rules[key]) for key in ("normalizer", "pre_tokenizer")}
        return None if bare == rules else tokenizers.Tokenizer.from_str(json.dumps(bare))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of the tokens, special tokens left out; bytes that are no UTF-8 become U+FFFD."""
        text: str = self._backend.decode(tokens, skip_special_tokens=True)
        return text

    def decode_all(self, tokens: Sequence[int]) -> str:
        """As `decode`, with special tokens written out."""
        text: str = self._backend.decode(tokens, skip_special_tokens=False)
        return text

    def normalize(self, text: str) -> str:
        """The text as added tokens marked `normalized` see it."""
        normalizer = self._backend.normalizer
        return text if normalizer is None else str(normalizer.normalize_str(text))

    def stream(self) -> "StreamDecoder":
        return StreamDecoder(self)


class StreamDecoder:
    """Tokens in one by one, text out as soon as it is whole: half a character is held back until its other bytes come.

    The texts of all `push` calls and of `flush` together are what `Tokenizer.decode` gives for all tokens. Only where
    a model writes bytes that are no UTF-8 may the two differ: some decoders then give up whole runs of good bytes.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._read = 0
        self._shown = ""

    def push(self, token: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""
        self._window.append(token)
        text = self._tokenizer.decode(self._window)
        return "" if text.endswith("\ufffd") else self._emit(text)

    def extend(self, tokens: Iterable[int]) -> str:
        return "".join(map(self.push, tokens))

    def flush(self) -> str:
        """What is still held back, at the end of the tokens."""
        return self._emit(self._tokenizer.decode(self._window))

    def _emit(self, text: str) -> str:
        if not text.startswith(self._shown):  # bad bytes have spoilt the context
            text = self._shown + self._tokenizer.decode(self._window[self._read :])
        new = text[len(self._shown) :]
        if new:
            # The last piece stays as context: a decoder may strip a blank from the first token it is given.
            self._window = self._window[self._read :]
            self._shown = self._tokenizer.decode(self._window)
        self._read = len(self._window)
        return new


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty when there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TokenizerUnusable(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise TokenizerUnusable(f"{path} is not a JSON object")
    return value


def _special_strings(config: dict[str, Any]) -> dict[str, str]:
    texts = {name: value["content"] if isinstance(value, dict) else value for name, value in config.items()
             if name.endswith("_token")}  # fmt: skip
    return {name: text for name, text in texts.items() if isinstance(text, str) and text}


def _chat_templates(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """All chat templates; a file of its own wins over the configuration, as in transformers."""
    declared = config.get("chat_template")
    templates: dict[str, str] = {}
    if isinstance(declared, str):
        templates["default"] = declared
    elif isinstance(declared, list):
        templates |= {entry["name"]: entry["template"] for entry in declared}
    if (folder / _TEMPLATE_FILE).is_file():
        templates["default"] = (folder / _TEMPLATE_FILE).read_text(encoding="utf-8")
    for path in sorted((folder / _TEMPLATE_FOLDER).glob("*.jinja")):
        templates[path.stem] = path.read_text(encoding="utf-8")
    return templates


def _without_prefix(rule: Any) -> Any:
    """A normalizer or pre-tokenizer in its JSON form, with everything taken out that puts a blank before a text."""
    if not isinstance(rule, dict):
        return rule
    if rule["type"] == "Prepend":
        return None
    if rule["type"] == "Metaspace":
        return rule | {"prepend_scheme": "never"}
    if "add_prefix_space" in rule:
        return rule | {"add_prefix_space": False}
    for parts in ("normalizers", "pretokenizers"):
        if parts in rule:
            kept = [_without_prefix(part) for part in rule[parts]]
            return rule | {parts: [part for part in kept if part is not None]}
    return rule
