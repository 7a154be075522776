"""A chat request to prompt tokens; sampled tokens to a completion or a stream of chunks."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from tunery import ids
from tunery.data.rendering import Renderer
from tunery.data.tokenizer import StreamDecoder, Tokenizer
from tunery.data.turns import RenderingError
from tunery.errors import InvalidRequest
from tunery.serving.port import ChatEngine
from tunery.types.chat import CreateChatCompletion, chunk_object, completion_object, usage_object
from tunery.types.sampling import AdapterRef, SampleRequest, Token

SEED_MAX = 2**63


@dataclass(frozen=True)
class Served:
    """The model that answers: a base, its renderer, and the adapter on top."""

    name: str
    base_id: str
    renderer: Renderer
    positions_max: int
    adapter: AdapterRef | None


@dataclass
class Choice:
    """One answer in the making: decoded text, withheld while a stop string could still complete."""

    index: int
    decoder: StreamDecoder
    stops: list[str]
    tokens: int = 0
    text: str = ""
    sent: int = 0
    finish_reason: str | None = None
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Append decoded text; a stop string ends the choice and is not part of the answer."""
        before = max(0, len(self.text) - max((len(stop) for stop in self.stops), default=0))
        self.text += text
        found = [position for stop in self.stops if (position := self.text.find(stop, before)) >= 0]
        if found:
            self.text = self.text[: min(found)]
            self.finish_reason = "stop"

    def take(self) -> str:
        """Text that is safe to send and was not sent yet."""
        end = len(self.text)
        if self.finish_reason is None:
            end -= max((_overlap(self.text, stop) for stop in self.stops), default=0)
        piece = self.text[self.sent : end]
        self.sent = max(self.sent, end)
        return piece


async def complete(engine: ChatEngine, served: Served, request: CreateChatCompletion) -> dict[str, Any]:
    """The whole answer at once."""
    prompt = render(served, request)
    samples = list(_sample_requests(served, request, prompt))
    choices = await asyncio.gather(
        *(_finish(engine, served, request, sample, index) for index, sample in enumerate(samples))
    )
    usage = usage_object(len(prompt), sum(choice.tokens for choice in choices))
    return completion_object(
        ids.completion(),
        created=int(time.time()),
        model=request.model,
        choices=[_choice_object(choice, with_logprobs=bool(request.logprobs)) for choice in choices],
        usage=usage,
    )


async def stream(engine: ChatEngine, served: Served, request: CreateChatCompletion) -> AsyncIterator[dict[str, Any]]:
    """Chunks in the wire's order: a role for each choice, text, finish reasons, usage where it was asked for."""
    prompt = render(served, request)
    with_usage = request.stream_options is not None and request.stream_options.include_usage
    fixed: dict[str, Any] = {"created": int(time.time()), "model": request.model, "with_usage": with_usage}
    completion_id = ids.completion()
    samples = list(_sample_requests(served, request, prompt))
    queue: asyncio.Queue[Any] = asyncio.Queue()
    tasks = [
        asyncio.create_task(_feed(queue, _deltas(engine, served, request, sample, index)))
        for index, sample in enumerate(samples)
    ]
    completed = 0
    running = len(tasks)
    try:
        while running:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, int):
                running -= 1
                completed += item
                continue
            yield chunk_object(completion_id, choices=[item], **fixed)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if with_usage:
        yield chunk_object(completion_id, choices=[], usage=usage_object(len(prompt), completed), **fixed)


def render(served: Served, request: CreateChatCompletion) -> list[int]:
    """The prompt's tokens, exactly as training sees them. Raises InvalidRequest where the template cannot take them."""
    if request.response_format is not None and request.response_format.get("type") != "text":
        raise InvalidRequest(
            "Only response_format {'type': 'text'} is available in this version of Tunery.", param="response_format"
        )
    try:
        prompt = served.renderer.prompt([message.as_row() for message in request.messages], tools=request.tools)
    except RenderingError as error:
        raise InvalidRequest(str(error), param="messages") from None
    if len(prompt) >= served.positions_max:
        raise InvalidRequest(
            f"This model's maximum context length is {served.positions_max} tokens. However, your messages resulted "
            f"in {len(prompt)} tokens. Please reduce the length of the messages.",
            code="context_length_exceeded",
            param="messages",
        )
    return prompt


def _sample_requests(served: Served, request: CreateChatCompletion, prompt: list[int]) -> Iterator[SampleRequest]:
    room = served.positions_max - len(prompt)
    first = secrets.randbelow(SEED_MAX) if request.seed is None else request.seed % SEED_MAX
    for index in range(request.n or 1):
        yield SampleRequest(
            id=0,
            prompt=prompt,
            adapter=served.adapter,
            max_tokens=min(room, request.tokens_max or room),
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=(first + index) % SEED_MAX,
            stop_tokens=served.renderer.stop_tokens,
            top_logprobs=(request.top_logprobs or 0) if request.logprobs else 0,
            frequency_penalty=request.frequency_penalty or 0.0,
            presence_penalty=request.presence_penalty or 0.0,
            logit_bias=request.logit_bias or {},
        )


async def _finish(
    engine: ChatEngine, served: Served, request: CreateChatCompletion, sample: SampleRequest, index: int
) -> Choice:
    choice = Choice(index, StreamDecoder(served.renderer.tokenizer), request.stops)
    async for _ in _grow(engine, served, sample, choice):
        pass
    return choice


async def _deltas(
    engine: ChatEngine, served: Served, request: CreateChatCompletion, sample: SampleRequest, index: int
) -> AsyncIterator[dict[str, Any] | int]:
    """One choice's chunk entries, then its number of tokens."""
    choice = Choice(index, StreamDecoder(served.renderer.tokenizer), request.stops)
    yield _delta(index, {"role": "assistant", "content": "", "refusal": None})
    async for entries in _grow(engine, served, sample, choice):
        piece = choice.take()
        if piece or (request.logprobs and entries):
            yield _delta(index, {"content": piece}, logprobs=entries if request.logprobs else None)
    rest = choice.take()
    if rest:
        yield _delta(index, {"content": rest})
    yield _delta(index, {}, finish_reason=choice.finish_reason)
    yield choice.tokens


async def _grow(
    engine: ChatEngine, served: Served, sample: SampleRequest, choice: Choice
) -> AsyncIterator[list[dict[str, Any]]]:
    """Feed sampled tokens into the choice until it is finished; yields each batch's log-probability entries."""
    tokenizer = served.renderer.tokenizer
    answers = engine.sample(served.base_id, sample)
    try:
        async for item in answers:
            entries = []
            for token in item.tokens:
                choice.tokens += 1
                if token.token in sample.stop_tokens:
                    continue
                entries.append(_logprob_entry(tokenizer, token))
                choice.add(choice.decoder.push(token.token))
                if choice.finish_reason is not None:
                    break
            choice.logprobs += entries
            if choice.finish_reason is None and item.finish_reason is not None:
                choice.add(choice.decoder.flush())
                choice.finish_reason = choice.finish_reason or item.finish_reason
            yield entries
            if choice.finish_reason is not None:
                return
    finally:
        await answers.aclose()  # type: ignore[attr-defined]


async def _feed(queue: asyncio.Queue[Any], items: AsyncIterator[Any]) -> None:
    try:
        async for item in items:
            queue.put_nowait(item)
    except Exception as error:
        queue.put_nowait(error)


def _choice_object(choice: Choice, *, with_logprobs: bool) -> dict[str, Any]:
    return {
        "index": choice.index,
        "message": {"role": "assistant", "content": choice.text, "refusal": None, "annotations": []},
        "logprobs": {"content": choice.logprobs, "refusal": None} if with_logprobs else None,
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


def _logprob_entry(tokenizer: Tokenizer, token: Token) -> dict[str, Any]:
    def entry(token_id: int, logprob: float) -> dict[str, Any]:
        text = tokenizer.decode([token_id])
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return entry(token.token, token.logprob) | {"top_logprobs": [entry(each, value) for each, value in token.top]}


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
