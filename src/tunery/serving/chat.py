"""A chat request to prompt tokens; sampled tokens to a completion or a stream of chunks."""

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tunery import ids
from tunery.data.turns import RenderingError
from tunery.errors import InvalidRequest
from tunery.serving.answers import (
    Choice,
    Served,
    finish_all,
    grow,
    logprob_entry,
    merge,
    new_choice,
    sample_requests,
)
from tunery.serving.port import ChatEngine
from tunery.types.chat import CreateChatCompletion, Message, chunk_object, completion_object, usage_object
from tunery.types.sampling import SampleRequest


async def complete(engine: ChatEngine, served: Served, request: CreateChatCompletion) -> dict[str, Any]:
    """The whole answer at once."""
    prompt = render(served, request)
    samples = sample_requests(served, prompt, request, n=request.n or 1)
    choices = await finish_all(engine, served, samples, request)
    return completion_object(
        ids.completion(),
        created=int(time.time()),
        model=request.model,
        choices=[_choice_object(served, choice, with_logprobs=bool(request.logprobs)) for choice in choices],
        usage=usage_object(len(prompt), sum(choice.tokens for choice in choices)),
        fingerprint=served.fingerprint,
    )


async def stream(engine: ChatEngine, served: Served, request: CreateChatCompletion) -> AsyncIterator[dict[str, Any]]:
    """Chunks in the wire's order: a role for each choice, text, finish reasons, usage where it was asked for."""
    prompt = render(served, request)
    with_usage = request.stream_options is not None and request.stream_options.include_usage
    fixed: dict[str, Any] = {"created": int(time.time()), "model": request.model, "fingerprint": served.fingerprint}
    fixed["with_usage"] = with_usage
    completion_id = ids.completion()
    samples = sample_requests(served, prompt, request, n=request.n or 1)
    choices = [new_choice(served, request, index) for index in range(len(samples))]
    streams = [_deltas(engine, served, request, *pair) for pair in zip(samples, choices, strict=True)]
    async for entry in merge(streams):
        yield chunk_object(completion_id, choices=[entry], **fixed)
    if with_usage:
        usage = usage_object(len(prompt), sum(choice.tokens for choice in choices))
        yield chunk_object(completion_id, choices=[], usage=usage, **fixed)


def render(served: Served, request: CreateChatCompletion) -> list[int]:
    """The prompt's tokens, exactly as training sees them. Raises InvalidRequest where the template cannot take them."""
    if request.response_format is not None and request.response_format.get("type") != "text":
        raise InvalidRequest(
            "Only response_format {'type': 'text'} is available in this version of Tunery.", param="response_format"
        )
    tools = None if request.tool_choice == "none" else request.tools
    return render_messages(served, request.messages, tools=tools)


def render_messages(served: Served, messages: Sequence[Message], *, tools: list[dict[str, Any]] | None) -> list[int]:
    """Messages to prompt tokens. Raises InvalidRequest where the model's template cannot take them."""
    try:
        return served.renderer.prompt([message.as_row() for message in messages], tools=tools)
    except RenderingError as error:
        raise InvalidRequest(str(error), param="messages") from None


async def _deltas(
    engine: ChatEngine, served: Served, request: CreateChatCompletion, sample: SampleRequest, choice: Choice
) -> AsyncIterator[dict[str, Any]]:
    """One choice's chunk entries. The first waits for the engine, so that a refusal is not a stream yet."""
    index = choice.index
    is_first = True
    async for tokens in grow(engine, served, sample, choice):
        if is_first:
            yield _delta(index, {"role": "assistant", "content": "", "refusal": None})
            is_first = False
        piece = choice.take()
        entries = [logprob_entry(served.renderer.tokenizer, token) for token in tokens] if request.logprobs else None
        if piece or entries:
            yield _delta(index, {"content": piece}, logprobs=entries)
    rest = choice.take()
    if rest:
        yield _delta(index, {"content": rest})
    yield _delta(index, {}, finish_reason=choice.finish_reason)


def _choice_object(served: Served, choice: Choice, *, with_logprobs: bool) -> dict[str, Any]:
    logprobs = None
    if with_logprobs:
        entries = [logprob_entry(served.renderer.tokenizer, token) for token in choice.sampled]
        logprobs = {"content": entries, "refusal": None}
    return {
        "index": choice.index,
        "message": {"role": "assistant", "content": choice.text, "refusal": None, "annotations": []},
        "logprobs": logprobs,
        "finish_reason": choice.finish_reason,
    }


def _delta(
    index: int,
    delta: dict[str, Any],
    *,
    finish_reason: str | None = None,
    logprobs: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    return {
        "index": index,
        "delta": delta,
        "logprobs": None if logprobs is None else {"content": logprobs, "refusal": None},
        "finish_reason": finish_reason,
    }
