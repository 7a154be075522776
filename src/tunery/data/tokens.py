"""The token file: a training file as its examples' tokens and label weights, made once and read by mapping memory.

It is a safetensors file, so that nothing in it can run and any tool can open it: `offsets` int64 [rows + 1], `lines`
int64 [rows] (1-based, in the training file), `tokens` int32 [N] and `weights` float32 [N], one row after the other.
A weight is that of the token as a label; 0 marks prompts. What the numbers add up to is in the header.
"""

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any, BinaryIO, Self

import msgspec
import numpy as np
from msgspec import Struct, field

_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8
_TENSORS: tuple[tuple[str, str, type[np.generic]], ...] = (
    ("offsets", "I64", np.int64),
    ("lines", "I64", np.int64),
    ("tokens", "I32", np.int32),
    ("weights", "F32", np.float32),
)
"""Name, safetensors' and numpy's type; the wide ones first, so that all are aligned."""
_METADATA_KEY = "tunery"
LINES_LISTED_MAX = 1000


class TokenFileSummary(Struct, kw_only=True):
    """What the rows of a token file add up to; stored in its header."""

    max_length: int
    """In tokens; longer rows are cut at the end."""
    n_rows: int = 0
    n_tokens: int = 0
    n_supervised_tokens: int = 0
    n_billed_tokens: int = 0
    """Of one epoch, by the formula in data.tokenization."""
    n_truncated: int = 0
    truncated_lines: list[int] = field(default_factory=list)
    """The first LINES_LISTED_MAX of them."""
    n_dropped: int = 0
    dropped_lines: list[int] = field(default_factory=list)
    """Lines without a supervised token, of themselves or after truncation; the first LINES_LISTED_MAX of them."""


class TokenFileBroken(ValueError):
    """Not a token file, or one that was cut off."""


class TokenFile:
    """A finished token file, mapped into memory: rows are read from the disk when they are looked at."""

    def __init__(self, path: Path) -> None:
        """Raises TokenFileBroken for anything but a complete token file."""
        header, data_start = _read_header(path)
        mapped = np.asarray(np.memmap(path, np.uint8, mode="r"))
        try:
            self.metadata = msgspec.json.decode(header["__metadata__"][_METADATA_KEY], type=TokenFileSummary)
            arrays = {name: _view(mapped[data_start:], header[name], dtype) for name, _, dtype in _TENSORS}
        except (KeyError, ValueError) as error:
            raise TokenFileBroken(f"{path} is not a complete token file: {error}") from error
        self._offsets, self.lines = arrays["offsets"], arrays["lines"]
        self._tokens, self._weights = arrays["tokens"], arrays["weights"]
        if len(self._offsets) != len(self.lines) + 1 or self._offsets[-1] != len(self._tokens):
            raise TokenFileBroken(f"{path} is not a complete token file: its offsets do not fit its rows")

    def __len__(self) -> int:
        return len(self.lines)

    def row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens int32 [T] and weights float32 [T] of one row: views into the file, not to be written to."""
        span = slice(self._offsets[index], self._offsets[index + 1])
        return self._tokens[span], self._weights[span]

    @property
    def lengths(self) -> np.ndarray:
        """int64 [rows], in tokens."""
        return np.diff(self._offsets)


class TokenFileWriter:
    """Takes rows one by one and writes the file at the end; memory stays flat, the disk holds the rows twice meanwhile.

    Used as a context: leaving it normally makes the finished file appear under its name, at once and flushed to the
    disk; leaving it by an exception leaves nothing.
    """

    def __init__(self, destination: Path, *, max_length: int) -> None:
        self.summary = TokenFileSummary(max_length=max_length)
        self._destination = destination
        self._parts = {
            name: destination.with_name(f".{destination.name}.{os.getpid()}.{name}") for name, _, _ in _TENSORS
        }
        self._streams: dict[str, BinaryIO] = {}

    def __enter__(self) -> Self:
        self._streams = {name: path.open("w+b") for name, path in self._parts.items()}
        self._append("offsets", np.zeros(1, np.int64))
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        try:
            if error_type is None:
                self._assemble()
        finally:
            for name, path in self._parts.items():
                self._streams[name].close()
                path.unlink()

    def add(self, tokens: np.ndarray, weights: np.ndarray, *, line: int, n_billed_tokens: int) -> None:
        """One row: tokens [T], weights [T]. A row over the maximal length is cut at its end; one that has no
        supervised token (any more) is dropped. Both are counted, with their lines.
        """
        summary = self.summary
        if len(tokens) > summary.max_length:
            tokens, weights = tokens[: summary.max_length], weights[: summary.max_length]
            n_billed_tokens = min(n_billed_tokens, summary.max_length)
            summary.n_truncated += 1
            _list_line(summary.truncated_lines, line)
        n_supervised = int(np.count_nonzero(weights))
        if n_supervised == 0:
            summary.n_dropped += 1
            _list_line(summary.dropped_lines, line)
            return
        summary.n_rows += 1
        summary.n_tokens += len(tokens)
        summary.n_supervised_tokens += n_supervised
        summary.n_billed_tokens += n_billed_tokens
        self._append("tokens", tokens.astype(np.int32, copy=False))
        self._append("weights", weights.astype(np.float32, copy=False))
        self._append("lines", np.array([line], np.int64))
        self._append("offsets", np.array([summary.n_tokens], np.int64))

    def _append(self, name: str, values: np.ndarray) -> None:
        self._streams[name].write(values.tobytes())

    def _assemble(self) -> None:
        partial = self._destination.with_name(f".{self._destination.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as target:
                target.write(self._header())
                for name, _, _ in _TENSORS:
                    self._streams[name].seek(0)
                    shutil.copyfileobj(self._streams[name], target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
            partial.replace(self._destination)
        finally:
            partial.unlink(missing_ok=True)
        _flush_folder(self._destination.parent)

    def _header(self) -> bytes:
        entries: dict[str, Any] = {"__metadata__": {_METADATA_KEY: msgspec.json.encode(self.summary).decode()}}
        start = 0
        for name, dtype, numpy_dtype in _TENSORS:
            end = start + self._streams[name].tell()
            shape = [(end - start) // np.dtype(numpy_dtype).itemsize]
            entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
            start = end
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-(len(text) + _LENGTH.size) % _ALIGNMENT)
        return _LENGTH.pack(len(text)) + text


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    with path.open("rb") as stream:
        start = stream.read(_LENGTH.size)
        length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
        if not 0 < length <= path.stat().st_size:
            raise TokenFileBroken(f"{path} is not a complete token file: it has no header")
        try:
            header = msgspec.json.decode(stream.read(length), type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise TokenFileBroken(f"{path} is not a complete token file: {error}") from error
    return header, _LENGTH.size + length


def _view(data: np.ndarray, entry: dict[str, Any], dtype: type[np.generic]) -> np.ndarray:
    start, end = entry["data_offsets"]
    if end > len(data):
        raise ValueError("the file ends too early")
    return data[start:end].view(dtype)


def _list_line(lines: list[int], line: int) -> None:
    if len(lines) < LINES_LISTED_MAX:
        lines.append(line)


def _flush_folder(folder: Path) -> None:
    """Makes a rename durable; without this a power loss may forget it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
