"""Loading of model folders, ids of special tokens, and text that comes out of a stream exactly as of one decode."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import families
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunery.data.tokenizer import StreamDecoder, Tokenizer, TokenizerUnusable

FolderOf = Callable[[str], Path]


@pytest.fixture
def chatml_copy(folder_of: FolderOf, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder_of("chatml"), tmp_path / "model"))


def test_encode_adds_no_special_token_but_reads_spelled_ones(folder_of: FolderOf) -> None:
    tokenizer = Tokenizer(folder_of("llama3"))
    ids = tokenizer.encode("Hello<|eot_id|>")
    assert tokenizer.decode_all(ids) == "Hello<|eot_id|>"
    assert ids.count(tokenizer.special_tokens["<|eot_id|>"]) == 1
    assert tokenizer.bos not in ids


def test_decode_leaves_special_tokens_out(folder_of: FolderOf) -> None:
    tokenizer = Tokenizer(folder_of("llama3"))
    assert tokenizer.decode(tokenizer.encode("<|begin_of_text|>Hello<|eot_id|>")) == "Hello"


def test_special_ids_come_from_every_file_that_may_name_them(folder_of: FolderOf) -> None:
    gemma = Tokenizer(folder_of("gemma"))
    spelled = {name: gemma.special_tokens[f"<{name}>"] for name in ("pad", "eos", "bos", "end_of_turn")}
    assert (gemma.pad, gemma.eos, gemma.bos) == (spelled["pad"], spelled["eos"], spelled["bos"])
    assert gemma.eos_tokens == (spelled["eos"], spelled["end_of_turn"])


def test_pad_falls_back_to_the_end_of_sequence(folder_of: FolderOf) -> None:
    tokenizer = Tokenizer(folder_of("gpt2"))
    assert tokenizer.bos is None
    assert tokenizer.pad == tokenizer.eos is not None


def test_prompt_prefix_is_empty_unless_the_tokenizer_itself_adds_bos(folder_of: FolderOf, tmp_path: Path) -> None:
    assert Tokenizer(folder_of("mistral")).prompt_prefix == ()
    rules = json.loads((folder_of("mistral") / "tokenizer.json").read_text())
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    rules["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    folder = Path(shutil.copytree(folder_of("mistral"), tmp_path / "model"))
    (folder / "tokenizer.json").write_text(json.dumps(rules))
    assert Tokenizer(folder).prompt_prefix == (1,)


def test_tokens_declared_only_in_the_configuration_are_added(chatml_copy: Path) -> None:
    new_id = Tokenizer(chatml_copy).vocabulary_size
    config = json.loads((chatml_copy / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {str(new_id): {"content": "<|late|>", "special": True}}
    (chatml_copy / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(chatml_copy)
    assert tokenizer.encode("<|late|>") == [new_id]
    assert "<|late|>" in tokenizer.special_tokens
    config["added_tokens_decoder"] = {str(new_id + 7): {"content": "<|late|>", "special": True}}
    (chatml_copy / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(TokenizerUnusable, match="another id"):
        Tokenizer(chatml_copy)


def test_saved_truncation_and_padding_are_switched_off(chatml_copy: Path) -> None:
    rules = json.loads((chatml_copy / "tokenizer.json").read_text())
    rules["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    (chatml_copy / "tokenizer.json").write_text(json.dumps(rules))
    assert len(Tokenizer(chatml_copy).encode("a b c d e f")) > 2


def test_chat_template_file_wins_over_the_configuration(chatml_copy: Path) -> None:
    assert Tokenizer(chatml_copy).templates == {"default": families.CHATML}
    (chatml_copy / "chat_template.jinja").write_text("of the file")
    (chatml_copy / "additional_chat_templates").mkdir()
    (chatml_copy / "additional_chat_templates" / "tool_use.jinja").write_text("with tools")
    assert Tokenizer(chatml_copy).templates == {"default": "of the file", "tool_use": "with tools"}


def test_chat_templates_in_a_list_keep_their_names(chatml_copy: Path) -> None:
    listed = [{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}]
    (chatml_copy / "tokenizer_config.json").write_text(json.dumps({"chat_template": listed}))
    assert Tokenizer(chatml_copy).templates == {"default": "a", "rag": "b"}


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_folder_without_a_usable_tokenizer_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerUnusable, match=r"tokenizer\.json"):
        Tokenizer(tmp_path)


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"]
)
def test_digest_changes_with_every_file_that_decides_about_tokens(chatml_copy: Path, name: str) -> None:
    before = Tokenizer(chatml_copy).digest
    assert Tokenizer(chatml_copy).digest == before
    path = chatml_copy / name
    path.write_text((path.read_text() if path.exists() else "{}") + "\n")
    assert Tokenizer(chatml_copy).digest != before


@pytest.mark.parametrize("family", ["chatml", "mistral", "mistral_first", "mistral_legacy", "gemma"])
@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="▁\ufffd")), min_size=1, max_size=4))
def test_encode_pieces_adds_no_blank_and_loses_nothing(folder_of: FolderOf, family: str, texts: list[str]) -> None:
    tokenizer = _loaded(family, folder_of)
    pieces = ["Begin:", *texts]
    assert tokenizer.decode(tokenizer.encode_pieces(pieces)) == "".join(pieces)


_LOADED: dict[str, Tokenizer] = {}
_TEXT = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(
    ["🙂🙃é", "こんにちは", " a  b ", "\ufffd", "é"]
)


@pytest.mark.parametrize("family", ["chatml", "mistral", "gemma"])
@given(texts=st.lists(_TEXT, max_size=4))
def test_stream_gives_the_text_of_one_decode(folder_of: FolderOf, family: str, texts: list[str]) -> None:
    tokenizer = _loaded(family, folder_of)
    tokens = tokenizer.encode("</s>".join(texts))
    assert _streamed(tokenizer, tokens) == tokenizer.decode(tokens)


@given(tokens=st.lists(st.integers(0, 400), max_size=30))
def test_stream_of_any_ids_gives_the_text_of_one_decode(folder_of: FolderOf, tokens: list[int]) -> None:
    """Ids that no text has, halves of characters among them."""
    tokenizer = _loaded("chatml", folder_of)
    assert _streamed(tokenizer, tokens) == tokenizer.decode(tokens)


def test_stream_goes_on_after_bytes_that_are_no_character(folder_of: FolderOf) -> None:
    tokenizer = _loaded("mistral", folder_of)
    lead = tokenizer.encode("ñ")[-2]
    assert _streamed(tokenizer, [*tokenizer.encode("ñ"), lead, *tokenizer.encode("x")]) == "ñ\ufffd x"


def _streamed(tokenizer: Tokenizer, tokens: list[int]) -> str:
    stream = StreamDecoder(tokenizer)
    return "".join(map(stream.push, tokens)) + stream.flush()


def _loaded(family: str, folder_of: FolderOf) -> Tokenizer:
    if family not in _LOADED:
        _LOADED[family] = Tokenizer(folder_of(family))
    return _LOADED[family]


def test_stream_holds_back_half_a_character(folder_of: FolderOf) -> None:
    tokenizer = Tokenizer(folder_of("chatml"))
    tokens = tokenizer.encode("a🫠b")
    assert len(tokens) >= 4, "the character must be spelled by several tokens"
    stream = StreamDecoder(tokenizer)
    pieces = [stream.push(token) for token in tokens]
    assert [piece for piece in pieces if piece] == ["a", "🫠", "b"]
    assert stream.flush() == ""
