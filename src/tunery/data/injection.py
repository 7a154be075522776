"""Text that spells a special token stays text: a message must not be able to end its own turn or open another one.

Training files that contain such text are refused. In a request the spelling is broken up by a barrier, a character
that occurs nowhere else in the conversation, before the template runs; the tokenizer then cuts at the barriers, so
that no added token can be matched across one and every character of the text is kept.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

BARRIERS = tuple(chr(code) for code in range(0xFDD0, 0xFDF0))
"""Unicode's noncharacters, meant for internal use."""


class ControlTokens:
    """The texts that must not become special tokens when they stand in a message."""

    def __init__(self, texts: Iterable[str], *, normalize: Callable[[str], str]) -> None:
        """`normalize` is what the tokenizer does to text before it looks for tokens marked as normalized."""
        self._normalize = normalize
        self.texts = tuple(sorted(texts, key=len, reverse=True))
        self._pattern = re.compile("|".join(map(re.escape, self.texts)) or r"(?!)")

    def first(self, value: Any) -> str | None:
        """The first control token spelled in any string of a JSON-like value, keys included."""
        for text in strings_of(value):
            found = self._pattern.search(text) or self._pattern.search(self._normalize(text))
            if found:
                return found.group()
        return None

    def broken(self, value: Any, *, barrier: str) -> Any:
        """The same value with a barrier inside every spelling. Raises ValueError for a token of one character."""
        if isinstance(value, str):
            return self._broken_text(value, barrier)
        if isinstance(value, Mapping):
            return {
                self.broken(key, barrier=barrier): self.broken(item, barrier=barrier) for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.broken(item, barrier=barrier) for item in value]
        return value

    def _broken_text(self, text: str, barrier: str) -> str:
        text = self._cut(text, barrier)
        normalized = self._normalize(text)
        return self._cut(normalized, barrier) if self._pattern.search(normalized) else text

    def _cut(self, text: str, barrier: str) -> str:
        """Cuts until nothing is left: a cut through one token can leave another that began inside it."""
        while found := self._pattern.search(text):
            token = found.group()
            if len(token) == 1:
                raise ValueError(f"the text contains {token!r}, which this model can only read as a special token")
            text = self._pattern.sub(lambda match: match.group()[0] + barrier + match.group()[1:], text)
        return text


def unused_barrier(value: Any) -> str:
    """A barrier that no string of the value contains. Raises ValueError when the text uses all of them."""
    used = {character for text in strings_of(value) for character in BARRIERS if character in text}
    for barrier in BARRIERS:
        if barrier not in used:
            return barrier
    raise ValueError("the text contains every one of Unicode's noncharacters U+FDD0 to U+FDEF")


def strings_of(value: Any) -> Iterable[str]:
    """Every string in a JSON-like value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings_of(key)
            yield from strings_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings_of(item)
