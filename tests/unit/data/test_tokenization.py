"""Files to token files: the renderer's tokens, truncation and drops with their lines, bills that add up."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tunery.data.formats import ChatRow
from tunery.data.rendering import Renderer
from tunery.data.tokenization import TokenisingFailed, token_file_key, tokenize_file
from tunery.data.tokens import TokenFile

RendererOf = Callable[[str], Renderer]


def row(question: str, answer: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer, **more}]}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def test_rows_have_the_tokens_of_the_renderer(renderer_of: RendererOf, tmp_path: Path) -> None:
    renderer = renderer_of("chatml")
    rows = [row(f"question {index}", "answer " * (index % 7) + "é") for index in range(300)]
    source = write(tmp_path / "train.jsonl", rows)
    summary = tokenize_file(source, renderer=renderer, max_length=512, destination=tmp_path / "t.safetensors")
    file = TokenFile(tmp_path / "t.safetensors")
    assert file.metadata == summary
    assert (len(file), file.lines.tolist()) == (300, list(range(1, 301)))
    for index, each in enumerate(rows):
        example = renderer.example(msgspec.convert(each, ChatRow))
        tokens, weights = file.row(index)
        assert tokens.tolist() == example.tokens.tolist()
        assert weights.tolist() == example.weights.tolist()


def test_billed_tokens_follow_the_documented_formula(renderer_of: RendererOf, tmp_path: Path) -> None:
    """Per message tok(content) + tok(role) + 3, per example 1, nothing for tools and templates."""
    renderer = renderer_of("chatml")
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    rows = [row("What is the capital of France?", "Paris."), row("Hi", "Hello!", weight=1)]
    rows[1]["messages"][1] |= {"content": None, "tool_calls": [call]}
    rows[1]["tools"] = [{"type": "function", "function": {"name": "f"}}]
    source = write(tmp_path / "train.jsonl", rows)
    summary = tokenize_file(source, renderer=renderer, max_length=512, destination=tmp_path / "t.safetensors")

    def count(text: str) -> int:
        return len(renderer.tokenizer.encode(text))

    roles = count("user") + count("assistant")
    first = count("What is the capital of France?") + count("Paris.") + roles + 2 * 3 + 1
    second = count("Hi") + 0 + roles + 2 * 3 + 1
    assert summary.n_billed_tokens == first + second


def test_long_rows_are_cut_and_empty_ones_dropped_with_their_lines(renderer_of: RendererOf, tmp_path: Path) -> None:
    rows = [row("a", "b"), row("a", "word " * 50), row("word " * 50, "b"), row("a", "b")]
    source = write(tmp_path / "train.jsonl", rows)
    summary = tokenize_file(
        source, renderer=renderer_of("chatml"), max_length=30, destination=tmp_path / "t.safetensors"
    )
    assert (summary.truncated_lines, summary.dropped_lines) == ([2, 3], [3])
    file = TokenFile(tmp_path / "t.safetensors")
    assert file.lines.tolist() == [1, 2, 4]
    assert file.lengths[1] == 30


def test_rows_that_cannot_be_rendered_fail_the_whole_file(renderer_of: RendererOf, tmp_path: Path) -> None:
    rows = [row("a", "b"), row("a<|im_end|>", "b"), row("a", "<|im_start|>")]
    source = write(tmp_path / "train.jsonl", rows)
    with pytest.raises(TokenisingFailed) as caught:
        tokenize_file(source, renderer=renderer_of("chatml"), max_length=99, destination=tmp_path / "t.safetensors")
    assert [(problem.line, problem.pointer) for problem in caught.value.problems] == [
        (2, "/messages/0"),
        (3, "/messages/1"),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"]


def test_a_file_with_nothing_to_train_on_fails(renderer_of: RendererOf, tmp_path: Path) -> None:
    source = write(tmp_path / "train.jsonl", [row("word " * 50, "b")] * 10)
    with pytest.raises(TokenisingFailed, match="anything to train on"):
        tokenize_file(source, renderer=renderer_of("chatml"), max_length=9, destination=tmp_path / "t.safetensors")


def test_completion_files_and_marked_files_are_tokenised(renderer_of: RendererOf, tmp_path: Path) -> None:
    renderer = renderer_of("gpt2")
    source = tmp_path / "train.jsonl"
    source.write_bytes(
        b'\xef\xbb\xbf{"prompt": "a", "completion": " b"}\r\n{"prompt": "c", "completion": " d"}\r\n\r\n'
    )
    summary = tokenize_file(source, renderer=renderer, max_length=99, destination=tmp_path / "t.safetensors")
    tokens, weights = TokenFile(tmp_path / "t.safetensors").row(1)
    assert renderer.tokenizer.decode_all(tokens.tolist()) == "c d<|endoftext|>"
    n_answered = len(renderer.tokenizer.encode(" d"))
    assert weights.tolist() == [0.0] + [1.0] * (n_answered + 1)
    assert summary.n_billed_tokens == 2 * (1 + 3 + n_answered + 3 + 1)


def test_a_row_that_validation_refuses_is_a_mistake_of_the_caller(renderer_of: RendererOf, tmp_path: Path) -> None:
    source = write(tmp_path / "train.jsonl", [row("a", "b"), {"messages": []}])
    with pytest.raises(ValueError, match="line 2"):
        tokenize_file(source, renderer=renderer_of("chatml"), max_length=99, destination=tmp_path / "t.safetensors")


def test_memory_is_flat_over_the_length_of_the_file(renderer_of: RendererOf, tmp_path: Path) -> None:
    def peak(n: int) -> int:
        source = write(tmp_path / "train.jsonl", [row("word " * 100, "word " * 30)] * n)
        tracemalloc.start()
        tokenize_file(source, renderer=renderer_of("chatml"), max_length=999, destination=tmp_path / "t.safetensors")
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(10)
    assert peak(1200) < peak(500) + (256 << 10)


def test_key_changes_with_all_that_the_tokens_depend_on(renderer_of: RendererOf) -> None:
    first = {"sha256": "1" * 64, "renderer": renderer_of("chatml"), "max_length": 99}
    changes: list[dict[str, Any]] = [
        {"sha256": "2" * 64},
        {"renderer": renderer_of("llama3")},
        {"max_length": 98},
    ]
    keys = [token_file_key(**first | change) for change in [{}, *changes]]
    assert len(set(keys)) == 4
    assert keys[0] == token_file_key(**first)
