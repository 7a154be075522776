"""A training file becomes a token file: rendered, tokenised in groups on all cores, billed by the documented formula.

Tokens are billed as sum over messages of (tok(content) + tok(role) + 3), and 1 more for each example, once per epoch.
The count is of the content alone: neither what a chat template writes around it nor tools are billed. A prompt and
completion count as two messages without roles. A truncated example is billed for what is left of it at most.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import msgspec

from tunery.data.conversations import text_of
from tunery.data.formats import ChatRow, CompletionRow, Row
from tunery.data.jsonlines import Line, read_lines
from tunery.data.problems import Problem, rendering_problem
from tunery.data.rendering import Renderer
from tunery.data.tokenizer import Tokenizer
from tunery.data.tokens import TokenFileSummary, TokenFileWriter
from tunery.data.turns import RenderingError

_GROUP_BYTES = 1 << 18
_TOKENS_PER_MESSAGE = 3
_TOKENS_PER_EXAMPLE = 1
_PROBLEMS_MAX = 1000
_KNOWN_TEXTS_MAX = 4096
_KNOWN_TEXT_CHARS_MAX = 512


class TokenisingFailed(ValueError):
    """Rows that the model's chat template cannot take, or nothing left to train on; no token file was written."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = problems
        """The first 1,000, in the file's order."""


def tokenize_file(source: Path, *, renderer: Renderer, max_length: int, destination: Path) -> TokenFileSummary:
    """Writes the token file of a validated training file of chat or completion rows.

    Raises TokenisingFailed when a row cannot be rendered or no row is left, ValueError for a row that validation
    would have refused.
    """
    problems: list[Problem] = []
    billing = _Billing(renderer.tokenizer)
    with TokenFileWriter(destination, max_length=max_length) as writer:
        for numbers, rows in _groups(read_lines(source)):
            billed = billing.count(rows)
            for number, example, n_billed in zip(numbers, renderer.examples(rows), billed, strict=True):
                if isinstance(example, RenderingError):
                    problems.append(rendering_problem(example, line=number))
                elif not problems:
                    writer.add(example.tokens, example.weights, line=number, n_billed_tokens=n_billed)
            if len(problems) >= _PROBLEMS_MAX:
                break
        if not problems and writer.summary.n_rows == 0:
            message = f"file has no example with anything to train on within {max_length} tokens"
            problems.append(Problem(None, "", "nothing_to_train", message, "shorten the prompts"))
        if problems:
            raise TokenisingFailed(problems[:_PROBLEMS_MAX])
        return writer.summary


def token_file_key(*, sha256: str, renderer: Renderer, max_length: int) -> str:
    """The identity of a token file: all that its tokens depend on."""
    return hashlib.sha256(f"{sha256}\0{renderer.digest}\0{max_length}".encode()).hexdigest()


def _groups(lines: Iterable[Line]) -> Iterator[tuple[list[int], list[Row]]]:
    """Line numbers and rows, in groups of bounded size."""
    decoder = _RowDecoder()
    numbers: list[int] = []
    rows: list[Row] = []
    group_bytes = 0
    for line in lines:
        if line.data is not None and not line.data.strip():
            continue
        numbers.append(line.number)
        rows.append(decoder.decode(line))
        group_bytes += line.length
        if group_bytes >= _GROUP_BYTES:
            yield numbers, rows
            numbers, rows, group_bytes = [], [], 0
    if rows:
        yield numbers, rows


class _RowDecoder:
    """Decodes the rows of one file; the first row says of which kind they are."""

    def __init__(self) -> None:
        self._decode_chat = msgspec.json.Decoder(ChatRow).decode
        self._decode_completion = msgspec.json.Decoder(CompletionRow).decode
        self._is_chat: bool | None = None

    def decode(self, line: Line) -> Row:
        if line.data is None:
            raise ValueError(f"line {line.number} is too long; validation refuses it")
        if self._is_chat is None:
            self._is_chat = b'"messages"' in line.data
        try:
            return self._decode_chat(line.data) if self._is_chat else self._decode_completion(line.data)
        except msgspec.DecodeError as error:
            raise ValueError(f"line {line.number} is no training row; validation refuses it: {error}") from error


class _Billing:
    """Counts billed tokens; short texts that come again and again, such as system prompts, are tokenised once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, int] = {}

    def count(self, rows: Sequence[Row]) -> list[int]:
        """Billed tokens of each row for one epoch, before truncation."""
        texts = [list(_billed_texts(row)) for row in rows]
        unknown = [text for text in dict.fromkeys(chain.from_iterable(texts)) if text not in self._known]
        lengths = dict(zip(unknown, map(len, self._tokenizer.encode_batch(unknown)), strict=True))
        counts = [
            _TOKENS_PER_EXAMPLE
            + _TOKENS_PER_MESSAGE * _n_messages(row)
            + sum(lengths[text] if text in lengths else self._known[text] for text in of_row)
            for row, of_row in zip(rows, texts, strict=True)
        ]
        short = (text for text in unknown if len(text) <= _KNOWN_TEXT_CHARS_MAX)
        self._known |= {text: lengths[text] for text in islice(short, _KNOWN_TEXTS_MAX - len(self._known))}
        return counts


def _billed_texts(row: Row) -> Iterator[str]:
    if isinstance(row, CompletionRow):
        yield row.prompt
        yield row.completion
        return
    for message in row.messages:
        plain = msgspec.to_builtins(message)
        yield plain["role"]
        yield text_of(plain)


def _n_messages(row: Row) -> int:
    return 2 if isinstance(row, CompletionRow) else len(row.messages)
