"""The token file keeps every row exactly, adds up right, and exists only when it is complete."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from tunery.data.tokens import LINES_LISTED_MAX, TokenFile, TokenFileBroken, TokenFileWriter

ROWS = st.lists(st.lists(st.tuples(st.integers(0, 2**31 - 1), st.sampled_from([0.0, 1.0])), max_size=12), max_size=12)


@given(rows=ROWS, max_length=st.integers(1, 12))
def test_rows_come_back_cut_and_dropped_as_told(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[tuple[int, float]]], max_length: int
) -> None:
    path = tmp_path_factory.mktemp("tokens") / "train.safetensors"
    with TokenFileWriter(path, max_length=max_length) as writer:
        for line, row in enumerate(rows, 1):
            tokens = np.array([token for token, _ in row], np.int32)
            writer.add(tokens, np.array([weight for _, weight in row], np.float32), line=line, n_billed_tokens=100)
    kept = [
        (line, row[:max_length]) for line, row in enumerate(rows, 1) if any(weight for _, weight in row[:max_length])
    ]
    file = TokenFile(path)
    assert len(file) == len(kept)
    assert file.lines.tolist() == [line for line, _ in kept]
    assert file.lengths.tolist() == [len(row) for _, row in kept]
    for index, (_, row) in enumerate(kept):
        tokens, weights = file.row(index)
        assert list(zip(tokens.tolist(), weights.tolist(), strict=True)) == row
    summary = file.metadata
    assert summary.n_rows == len(kept)
    assert summary.n_tokens == sum(len(row) for _, row in kept)
    assert summary.n_supervised_tokens == sum(bool(weight) for _, row in kept for _, weight in row)
    assert summary.n_billed_tokens == sum(100 if len(rows[line - 1]) <= max_length else max_length for line, _ in kept)
    assert summary.truncated_lines == [line for line, row in enumerate(rows, 1) if len(row) > max_length]
    assert summary.dropped_lines == [line for line in range(1, len(rows) + 1) if line not in dict(kept)]


def write(path: Path, n_rows: int = 3, *, supervised: bool = True) -> None:
    with TokenFileWriter(path, max_length=8) as writer:
        for line in range(1, n_rows + 1):
            weights = np.full(4, float(supervised), np.float32)
            writer.add(np.arange(4, dtype=np.int32), weights, line=line, n_billed_tokens=5)


def test_the_file_is_a_safetensors_file(tmp_path: Path) -> None:
    write(tmp_path / "t.safetensors")
    tensors = load_file(tmp_path / "t.safetensors")
    assert {name: (array.dtype, array.shape) for name, array in tensors.items()} == {
        "tokens": (np.int32, (12,)),
        "weights": (np.float32, (12,)),
        "offsets": (np.int64, (4,)),
        "lines": (np.int64, (3,)),
    }
    assert tensors["offsets"].tolist() == [0, 4, 8, 12]


def test_rows_are_views_that_cannot_be_written(tmp_path: Path) -> None:
    write(tmp_path / "t.safetensors")
    tokens, _ = TokenFile(tmp_path / "t.safetensors").row(1)
    assert not tokens.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


def test_a_failed_writing_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with TokenFileWriter(tmp_path / "t.safetensors", max_length=8) as writer:
            writer.add(np.arange(4, dtype=np.int32), np.ones(4, np.float32), line=1, n_billed_tokens=5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_writing_leaves_only_the_file(tmp_path: Path) -> None:
    write(tmp_path / "t.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_listed_lines_are_bounded_and_all_counted(tmp_path: Path) -> None:
    write(tmp_path / "t.safetensors", n_rows=LINES_LISTED_MAX + 5, supervised=False)
    summary = TokenFile(tmp_path / "t.safetensors").metadata
    assert (summary.n_dropped, len(summary.dropped_lines), summary.n_rows) == (
        LINES_LISTED_MAX + 5,
        LINES_LISTED_MAX,
        0,
    )


@pytest.mark.parametrize("damage", ["empty", "cut", "header", "other"])
def test_anything_else_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "t.safetensors"
    write(path)
    data = path.read_bytes()
    changed = {"empty": b"", "cut": data[:-8], "header": data[:40], "other": b"\x02" + b"\0" * 7 + b"{}"}
    path.write_bytes(changed[damage])
    with pytest.raises(TokenFileBroken, match=r"t\.safetensors"):
        TokenFile(path)
