"""What a chat template does that it does not say: found once per model by rendering a small conversation.

How does an answer end? Which added tokens hold a conversation together, even if the tokenizer does not mark them as
special? In which form do tool calls come out as they should?
"""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from tunery.data.conversations import CALL_FORMS, CallForm, template_messages
from tunery.data.tokenizer import Tokenizer
from tunery.data.turns import RenderingError

_QUESTION = {"role": "user", "content": "xyzzy question"}
_ANSWER = {"role": "assistant", "content": "xyzzy answer"}
_CALL = {
    "id": "xyzzy1234",
    "type": "function",
    "function": {"name": "xyzzy_function", "arguments": '{"xyzzy_key": "xyzzy_value"}'},
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "xyzzy_function",
        "description": "A function.",
        "parameters": {"type": "object", "properties": {"xyzzy_key": {"type": "string", "description": "A key."}}},
    },
}


class TemplateHabits:
    """The habits of one model's template. `render` takes messages and tools, without a generation prompt."""

    def __init__(self, tokenizer: Tokenizer, render: Callable[[Mapping[str, Any]], str]) -> None:
        self._tokenizer = tokenizer
        self._render = render

    @cached_property
    def stop_tokens(self) -> tuple[int, ...]:
        """The model's end-of-sequence ids and the template's end of turn, smallest first."""
        ending = self._try([_QUESTION, _ANSWER]).rpartition(_ANSWER["content"])[2]
        end_of_turn = self._added_in(ending)[:1]
        return tuple(sorted({*self._tokenizer.eos_tokens, *end_of_turn}))

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """The stop tokens that can be told from text, that is, all that a template can write."""
        return frozenset(token for token in self.stop_tokens if token in self._tokenizer.added_tokens)

    @cached_property
    def end_pattern(self) -> re.Pattern[str]:
        texts = sorted(
            (self._tokenizer.added_tokens[token].content for token in self.end_tokens), key=len, reverse=True
        )
        return re.compile("|".join(map(re.escape, texts)) or r"(?!)")

    @cached_property
    def scaffold(self) -> frozenset[str]:
        """The added tokens around plain messages.

        The conversation ends with a question, so that what thinking templates put before a last answer is not in it.
        """
        system = {"role": "system", "content": "xyzzy system"}
        plain = [_QUESTION, _ANSWER, _QUESTION]
        found = self._added_in(self._try(plain) + self._try([system, *plain]))
        return frozenset(self._tokenizer.added_tokens[token].content for token in (*found, *self.end_tokens))

    def call_form(self, *, called: bool) -> CallForm:
        """How this template takes tool calls; any form when the conversation calls no tool."""
        return self._call_form if called else CALL_FORMS[0]

    @cached_property
    def _call_form(self) -> CallForm:
        for form in CALL_FORMS:
            call = {"role": "assistant", "content": None, "tool_calls": [_CALL]}
            messages = template_messages([_QUESTION, call], call_form=form, knows_developer=False)
            text = self._try(messages, tools=[_TOOL])
            escaped = '\\"xyzzy_value' in text or "'xyzzy_value" in text
            if "xyzzy_value" in text and not escaped and "None" not in text:
                return form
        return CALL_FORMS[0]

    def _try(self, messages: list[dict[str, Any]], *, tools: list[dict[str, Any]] | None = None) -> str:
        """Empty when the template refuses the conversation: then this habit is not to be learned from it."""
        try:
            return self._render({"messages": messages, "tools": tools})
        except RenderingError:
            return ""

    def _added_in(self, text: str) -> list[int]:
        """Added tokens in the text, but for the runs of blanks that some tokenizers add to save tokens on code."""
        added = self._tokenizer.added_tokens
        return [token for token in self._tokenizer.encode(text) if token in added and added[token].content.strip()]
