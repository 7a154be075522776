"""One renderer for training and for serving: the tokens before a trained turn are the tokens that a request sends.

A conversation is rendered by the model's chat template and tokenised as a whole. What is supervised is found by
comparing renders: the conversation up to a turn, with the generation prompt, must be the beginning of the whole text,
and its tokens the beginning of the whole tokens. Where a template rewrites its history so that this cannot hold, the
row is refused with the turn's number; it is never trained on something else than what it says.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from tunery.data.boundaries import Boundaries
from tunery.data.conversations import WireMessage, template_messages, template_tools
from tunery.data.formats import ChatRow, CompletionRow, Row
from tunery.data.habits import TemplateHabits
from tunery.data.injection import ControlTokens, unused_barrier
from tunery.data.templates import ChatTemplate, TemplateFailed
from tunery.data.tokenizer import Tokenizer
from tunery.data.turns import Draft, RenderingError, Turn, conversation_draft

RENDERER_VERSION = 1
"""Part of cache keys; counts up whenever the same row would give other tokens or weights."""

DEFAULT_TEMPLATE = """\
{%- for message in messages -%}
{{ message.role | capitalize }}:
{{ message.content }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}

{% endfor -%}
{%- if add_generation_prompt -%}
Assistant:
{% endif -%}
"""
"""For base models that come without a chat template, such as GPT-2: plain text with each speaker on a line of its own.

It has no place for tools, so rows with tools are refused. The model's end-of-sequence token ends each answer.
"""


class Example(Struct, frozen=True):
    """One training sequence. T = tokens."""

    tokens: np.ndarray
    """int32 [T]."""
    weights: np.ndarray
    """float32 [T]: the weight of each token as a label; 0 for prompts and for the first token."""


class Renderer:
    """Messages to tokens for one tokenizer. Stateless after construction; threads may share it."""

    def __init__(
        self, tokenizer: Tokenizer, *, thinking: bool = False, clock: Callable[[], datetime] = datetime.now
    ) -> None:
        """`thinking` is what templates read as `enable_thinking`: off, so that answers without a train of thought are
        trained and served in the same form. `clock` gives the date that some templates write into the system message.

        Raises TemplateFailed when a chat template of the model does not compile.
        """
        self.tokenizer = tokenizer
        sources = tokenizer.templates or {"default": DEFAULT_TEMPLATE}
        self._templates = {name: ChatTemplate(source) for name, source in sources.items()}
        self._thinking = thinking
        self._clock = clock
        self._boundaries = Boundaries(tokenizer)
        self._habits = TemplateHabits(tokenizer, self._render_alone)

    @property
    def stop_tokens(self) -> tuple[int, ...]:
        """Every id that ends an answer: the model's end-of-sequence ids and the template's end of turn."""
        return self._habits.stop_tokens

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all that decides which tokens a row gives, but for the row itself and its maximal length.

        A template that writes the date makes the digest change with it.
        """
        sources = sorted((name, template.source) for name, template in self._templates.items())
        dated = any("strftime_now" in source for _, source in sources)
        parts = (RENDERER_VERSION, self.tokenizer.digest, sources, self._thinking, dated and str(self._clock().date()))
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

    @cached_property
    def control(self) -> ControlTokens:
        """What text in a message must not become."""
        marked = any(added.normalized for added in self.tokenizer.added_tokens.values())
        texts = {*self.tokenizer.special_tokens, *self._habits.scaffold}
        return ControlTokens(texts, normalize=self.tokenizer.normalize if marked else str)

    def prompt(self, messages: Sequence[WireMessage], tools: Sequence[Mapping[str, Any]] | None = None) -> list[int]:
        """The tokens that a request with these messages sends to the model, up to where the answer begins.

        Raises RenderingError when the template refuses the conversation.
        """
        barrier = None
        if self.control.first((messages, tools)) is not None:
            barrier, messages, tools = self._guarded(messages, tools)
        variables = self._variables(messages, tools, functions=None)
        text = self._render(variables, now=self._clock())
        return self.tokenizer.encode(text) if barrier is None else self.tokenizer.encode_pieces(text.split(barrier))

    def completion_prompt(self, prompt: str) -> list[int]:
        """The tokens of a raw prompt, for the completions endpoint and for prompt/completion rows."""
        pieces = [prompt]
        if self.control.first(prompt) is not None:
            barrier, [guarded], _ = self._guarded([prompt], None)
            pieces = guarded.split(barrier)
        return [*self.tokenizer.prompt_prefix, *self.tokenizer.encode_pieces(pieces)]

    def example(self, row: Row) -> Example:
        """The row as a training sequence. Raises RenderingError when it cannot be trained on exactly as it says."""
        example = self.examples([row])[0]
        if isinstance(example, RenderingError):
            raise example
        return example

    def examples(self, rows: Sequence[Row]) -> list[Example | RenderingError]:
        """As `example` for many rows, tokenised together; a row that cannot be trained on gives its error."""
        drafts = [self._draft(row) for row in rows]
        texts = [draft.text for draft in drafts if isinstance(draft, Draft)]
        encoded = iter(self.tokenizer.encode_batch(texts))
        return [
            draft if isinstance(draft, Example | RenderingError) else self._supervise(draft, next(encoded))
            for draft in drafts
        ]

    def _guarded(self, messages: Sequence[Any], tools: Sequence[Any] | None) -> tuple[str, Any, Any]:
        try:
            barrier = unused_barrier((messages, tools))
            return barrier, self.control.broken(messages, barrier=barrier), self.control.broken(tools, barrier=barrier)
        except ValueError as error:
            raise RenderingError("special_token", reason=str(error)) from error

    def _variables(
        self,
        messages: Sequence[WireMessage],
        tools: Sequence[Mapping[str, Any]] | None,
        *,
        functions: Sequence[Mapping[str, Any]] | None,
    ) -> dict[str, Any]:
        called = any(message.get("tool_calls") or message.get("function_call") for message in messages)
        converted = template_messages(
            messages, call_form=self._habits.call_form(called=called), knows_developer=self._knows_developer
        )
        return {"messages": converted, "tools": template_tools(tools, functions)}

    @cached_property
    def _knows_developer(self) -> bool:
        return any("developer" in template.source for template in self._templates.values())

    def _render(self, variables: Mapping[str, Any], *, now: datetime, add_generation_prompt: bool = True) -> str:
        """The template's text. Raises RenderingError."""
        name = "tool_use" if variables["tools"] and "tool_use" in self._templates else "default"
        template = self._templates[name] if name in self._templates else next(iter(self._templates.values()))
        fixed = {"add_generation_prompt": add_generation_prompt, "enable_thinking": self._thinking}
        try:
            return template.render({**self.tokenizer.special_strings, **fixed, **variables}, now=now)
        except TemplateFailed as error:
            raise RenderingError("template_refuses", reason=f"is refused by the chat template: {error}") from error

    def _render_alone(self, variables: Mapping[str, Any]) -> str:
        return self._render(variables, now=self._clock(), add_generation_prompt=False)

    def _draft(self, row: Row) -> Draft | Example | RenderingError:
        try:
            return self._completion(row) if isinstance(row, CompletionRow) else self._conversation(row)
        except RenderingError as error:
            return error

    def _completion(self, row: CompletionRow) -> Example:
        for text in (row.prompt, row.completion):
            self._require_text(text, message_index=None)
        if self.tokenizer.eos is None:
            raise RenderingError("no_stop_token", reason="cannot be ended: the model has no end-of-sequence token")
        whole = [*self.tokenizer.prompt_prefix, *self.tokenizer.encode_pieces([row.prompt, row.completion])]
        prompt_length = len(self.completion_prompt(row.prompt))
        return _example([*whole, self.tokenizer.eos], spans=[(prompt_length, len(whole) + 1)])

    def _conversation(self, row: ChatRow) -> Draft:
        messages = [msgspec.to_builtins(message) for message in row.messages]
        tools, functions = msgspec.to_builtins((row.tools, row.functions))
        for index, message in enumerate(messages):
            self._require_text(message, message_index=index)
        self._require_text((tools, functions), message_index=None)
        variables = self._variables(messages, tools, functions=functions)
        trained = [index for index, message in enumerate(messages) if _is_trained(message)]
        now = self._clock()

        def render(n_messages: int, *, add_generation_prompt: bool) -> str:
            shown = variables | {"messages": variables["messages"][:n_messages]}
            return self._render(shown, now=now, add_generation_prompt=add_generation_prompt)

        return conversation_draft(variables, trained=trained, render=render, ends=self._habits.end_pattern)

    def _require_text(self, value: Any, *, message_index: int | None) -> None:
        token = self.control.first(value)
        if token is not None:
            reason = f"contains an invalid token: {token}"
            raise RenderingError("special_token", message_index=message_index, reason=reason)

    def _supervise(self, draft: Draft, tokens: list[int]) -> Example | RenderingError:
        try:
            return self._with_spans(draft, tokens)
        except RenderingError as error:
            last = draft.turns[-1]
            if error.code != "tokens_differ" or error.message_index != last.message_index:
                return error
        # Nothing follows the last turn, so cutting there changes no other prompt: an answer that begins with a line
        # break keeps it as a token of its own, exactly as the model has to generate it.
        tokens = self.tokenizer.encode_pieces([last.prompt, draft.text[len(last.prompt) :]])
        try:
            return self._with_spans(draft, tokens)
        except RenderingError as error:
            return error

    def _with_spans(self, draft: Draft, tokens: list[int]) -> Example:
        anchors = self._boundaries.anchors(draft.text, tokens)
        spans: list[tuple[int, int]] = []
        for turn in draft.turns:
            first = self._boundaries.tokens_before(turn.prompt, tokens, anchors)
            if first is None or (spans and first < spans[-1][1]):
                reason = (
                    "would be trained after other tokens than a request sends: it is joined to them by the tokenizer"
                )
                raise RenderingError("tokens_differ", message_index=turn.message_index, reason=reason)
            spans.append((first, self._end_of(turn, tokens, first=first)))
        if draft.turns and draft.turns[-1].ends_without_stop:
            assert self.tokenizer.eos is not None
            tokens = [*tokens, self.tokenizer.eos]
        return _example(tokens[: spans[-1][1]] if spans else tokens, spans=spans)

    def _end_of(self, turn: Turn, tokens: list[int], *, first: int) -> int:
        """One past the turn's stop token."""
        if not turn.ends_without_stop:
            stops = [tokens.index(end, first) for end in self._habits.end_tokens if end in tokens[first:]]
            if stops:
                return min(stops) + 1
        elif self.tokenizer.eos is not None:
            return len(tokens) + 1
        reason = "is not ended by a stop token that the tokenizer knows"
        raise RenderingError("no_stop_token", message_index=turn.message_index, reason=reason)


def _is_trained(message: Mapping[str, Any]) -> bool:
    return message["role"] == "assistant" and message.get("weight") != 0


def _example(tokens: list[int], *, spans: list[tuple[int, int]]) -> Example:
    weights = np.zeros(len(tokens), np.float32)
    for first, end in spans:
        weights[first:end] = 1.0
    weights[:1] = 0.0
    return Example(np.array(tokens, np.int32), weights)
