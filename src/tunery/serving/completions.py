"""A raw prompt continued: the endpoint of base models and of jobs on prompt and completion rows."""

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from tunery import ids
from tunery.errors import InvalidRequest
from tunery.serving.answers import Choice, Served, finish_all, grow, merge, new_choice, sample_requests
from tunery.serving.port import ChatEngine
from tunery.types.chat import usage_object
from tunery.types.completions import TOKENS_DEFAULT, CreateCompletion, text_completion_object
from tunery.types.sampling import SampleRequest, Token


async def complete(engine: ChatEngine, served: Served, request: CreateCompletion) -> dict[str, Any]:
    """Every choice of every prompt, prompt by prompt."""
    prompts, samples = _prepare(served, request)
    choices = await finish_all(engine, served, samples, request)
    for choice, sample in zip(choices, samples, strict=True):
        if request.echo:
            choice.text = served.renderer.tokenizer.decode(sample.prompt) + choice.text
    usage = usage_object(sum(map(len, prompts)), sum(choice.tokens for choice in choices))
    return text_completion_object(
        ids.text_completion(),
        created=int(time.time()),
        model=request.model,
        choices=[
            _choice(served, request, choice.index, choice.text, choice.sampled, choice.finish_reason)
            for choice in choices
        ],
        fingerprint=served.fingerprint,
        usage=usage,
    )


async def stream(engine: ChatEngine, served: Served, request: CreateCompletion) -> AsyncIterator[dict[str, Any]]:
    """Chunks in the same shape as the whole answer."""
    prompts, samples = _prepare(served, request)
    fixed: dict[str, Any] = {"created": int(time.time()), "model": request.model, "fingerprint": served.fingerprint}
    completion_id = ids.text_completion()
    choices = [new_choice(served, request, index) for index in range(len(samples))]
    streams = [_deltas(engine, served, request, *pair) for pair in zip(samples, choices, strict=True)]
    async for entry in merge(streams):
        yield text_completion_object(completion_id, choices=[entry], **fixed)
    if request.stream_options is not None and request.stream_options.include_usage:
        usage = usage_object(sum(map(len, prompts)), sum(choice.tokens for choice in choices))
        yield text_completion_object(completion_id, choices=[], usage=usage, **fixed)


def _prepare(served: Served, request: CreateCompletion) -> tuple[list[list[int]], list[SampleRequest]]:
    prompts = [_tokens(served, prompt) for prompt in request.prompts]
    samples = [
        sample
        for prompt in prompts
        for sample in sample_requests(served, prompt, request, n=request.n or 1, tokens_default=TOKENS_DEFAULT)
    ]
    return prompts, samples


def _tokens(served: Served, prompt: str | list[int]) -> list[int]:
    if isinstance(prompt, str):
        return served.renderer.completion_prompt(prompt) or [served.renderer.stop_tokens[0]]
    size = served.renderer.tokenizer.vocabulary_size
    wrong = next((token for token in prompt if not 0 <= token < size), None)
    if wrong is not None or not prompt:
        raise InvalidRequest(f"{prompt if wrong is None else wrong} is no prompt of this model's tokens - 'prompt'")
    return prompt


async def _deltas(
    engine: ChatEngine, served: Served, request: CreateCompletion, sample: SampleRequest, choice: Choice
) -> AsyncIterator[dict[str, Any]]:
    if request.echo:
        text = served.renderer.tokenizer.decode(sample.prompt)
        yield _choice(served, request, choice.index, text, [], None)
    async for tokens in grow(engine, served, sample, choice):
        piece = choice.take()
        if piece:
            yield _choice(served, request, choice.index, piece, tokens, None)
    yield _choice(served, request, choice.index, choice.take(), [], choice.finish_reason)


def _choice(
    served: Served,
    request: CreateCompletion,
    index: int,
    text: str,
    tokens: Sequence[Token],
    finish_reason: str | None,
) -> dict[str, Any]:
    return {
        "text": text,
        "index": index,
        "logprobs": None if request.logprobs is None else _logprobs(served, tokens),
        "finish_reason": finish_reason,
    }


def _logprobs(served: Served, tokens: Sequence[Token]) -> dict[str, Any]:
    """The older shape: parallel lists, and a map of alternatives for each token."""
    tokenizer = served.renderer.tokenizer
    texts = [tokenizer.decode([token.token]) for token in tokens]
    offsets = [0]
    for text in texts:
        offsets.append(offsets[-1] + len(text))
    return {
        "tokens": texts,
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [{tokenizer.decode([each]): value for each, value in token.top} for token in tokens],
        "text_offset": offsets[:-1],
    }
