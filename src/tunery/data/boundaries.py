"""Where a prompt ends inside a tokenised conversation, found without tokenising the prompt again.

Added tokens such as <|im_start|> cut a text before anything else happens, so the text on one side never changes the
tokens on the other. To compare a prompt with a conversation that begins with it, it is enough to compare from the
prompt's last added token on: a text so short and so often the same that its tokens are kept.
"""

import re
from bisect import bisect_right

import numpy as np
from msgspec import Struct

from tunery.data.tokenizer import Tokenizer

_TAILS_KEPT_MAX = 1024
_TAIL_CHARS_MAX = 256


class Anchors(Struct, frozen=True):
    """The added tokens of one text, in order."""

    starts: list[int]
    """In characters."""
    ends: list[int]
    positions: list[int]
    """In tokens."""


class Boundaries:
    """Compares prompts with conversations for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # A token marked `normalized` is matched in other text than the one we see, so it is no anchor.
        anchors = {added.content: token for token, added in tokenizer.added_tokens.items() if not added.normalized}
        self._token_of = anchors
        self._is_anchor = np.zeros(tokenizer.vocabulary_size, bool)
        self._is_anchor[list(anchors.values())] = True
        longest_first = sorted(anchors, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._tails: dict[str, list[int]] = {}

    def anchors(self, text: str, tokens: list[int]) -> Anchors | None:
        """The anchors of a tokenised text; None where the tokenizer saw other ones than a plain search does."""
        matches = list(self._pattern.finditer(text))
        positions: list[int] = np.flatnonzero(self._is_anchor[tokens]).tolist()
        if [self._token_of[match.group()] for match in matches] != [tokens[position] for position in positions]:
            return None
        return Anchors([match.start() for match in matches], [match.end() for match in matches], positions)

    def tokens_before(self, prompt: str, tokens: list[int], anchors: Anchors | None) -> int | None:
        """How many of the tokens of a text that begins with `prompt` are exactly the prompt's own tokens.

        None when the prompt alone has other tokens than it has as the beginning of the text.
        """
        if anchors is not None:
            count = self._after_last_anchor(prompt, tokens, anchors)
            if count is not None:
                return count
        own = self._tokenizer.encode(prompt)
        return len(own) if tokens[: len(own)] == own else None

    def _after_last_anchor(self, prompt: str, tokens: list[int], anchors: Anchors) -> int | None:
        """The short way; None where it cannot tell."""
        inside = bisect_right(anchors.ends, len(prompt))
        if inside == 0:
            return None
        own = self._encode_tail(prompt[anchors.starts[inside - 1] :])
        first = anchors.positions[inside - 1]
        return first + len(own) if tokens[first : first + len(own)] == own else None

    def _encode_tail(self, tail: str) -> list[int]:
        if tail not in self._tails:
            tokens = self._tokenizer.encode(tail)
            if len(self._tails) >= _TAILS_KEPT_MAX or len(tail) > _TAIL_CHARS_MAX:
                return tokens
            self._tails[tail] = tokens
        return self._tails[tail]
