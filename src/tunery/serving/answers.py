"""What every inference endpoint shares: prompt tokens to requests of the engine, sampled tokens to growing text."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tunery.data.rendering import Renderer
from tunery.data.tokenizer import StreamDecoder, Tokenizer
from tunery.errors import InvalidRequest
from tunery.serving.port import ChatEngine
from tunery.types.sampling import AdapterRef, SampleRequest, Token

SEED_MAX = 2**63


class SamplingParameters(Protocol):
    """What the requests of all inference endpoints have in common; None takes the API's default."""

    @property
    def temperature(self) -> float | None: ...
    @property
    def top_p(self) -> float | None: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def frequency_penalty(self) -> float | None: ...
    @property
    def presence_penalty(self) -> float | None: ...
    @property
    def logit_bias(self) -> dict[int, float] | None: ...
    @property
    def stops(self) -> list[str]: ...
    @property
    def tokens_max(self) -> int | None: ...
    @property
    def alternatives(self) -> int: ...


@dataclass(frozen=True)
class Served:
    """The model that answers: a base, its renderer, and the adapter on top."""

    base_id: str
    base_sha256: str
    renderer: Renderer
    positions_max: int
    adapter: AdapterRef | None

    @property
    def weights(self) -> str:
        """Which weights answer: the base's digest, and the adapter's where there is one."""
        return self.base_sha256 if self.adapter is None else f"{self.base_sha256}+{self.adapter.sha256}"

    @property
    def fingerprint(self) -> str:
        """`system_fingerprint`: a short digest of the weights."""
        return f"fp_{hashlib.sha256(self.weights.encode()).hexdigest()[:12]}"


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
    sampled: list[Token] = field(default_factory=list)
    """The tokens behind `text`, for log-probabilities."""

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


def sample_requests(
    served: Served, prompt: list[int], parameters: SamplingParameters, *, n: int, tokens_default: int | None = None
) -> list[SampleRequest]:
    """One request for each of `n` choices, with seeds that follow one another.

    Raises InvalidRequest for a prompt that leaves no room to answer.
    """
    room = served.positions_max - len(prompt)
    if room <= 0:
        raise InvalidRequest(
            f"This model's maximum context length is {served.positions_max} tokens. However, your messages resulted "
            f"in {len(prompt)} tokens. Please reduce the length of the messages.",
            code="context_length_exceeded",
            param="messages",
        )
    seed = secrets.randbelow(SEED_MAX) if parameters.seed is None else parameters.seed % SEED_MAX
    return [
        SampleRequest(
            id=0,
            prompt=prompt,
            adapter=served.adapter,
            max_tokens=min(room, parameters.tokens_max or tokens_default or room),
            temperature=1.0 if parameters.temperature is None else parameters.temperature,
            top_p=1.0 if parameters.top_p is None else parameters.top_p,
            seed=(seed + index) % SEED_MAX,
            stop_tokens=served.renderer.stop_tokens,
            top_logprobs=parameters.alternatives,
            frequency_penalty=parameters.frequency_penalty or 0.0,
            presence_penalty=parameters.presence_penalty or 0.0,
            logit_bias=parameters.logit_bias or {},
        )
        for index in range(n)
    ]


def new_choice(served: Served, parameters: SamplingParameters, index: int) -> Choice:
    return Choice(index, StreamDecoder(served.renderer.tokenizer), parameters.stops)


async def grow(engine: ChatEngine, served: Served, sample: SampleRequest, choice: Choice) -> AsyncIterator[list[Token]]:
    """Feed sampled tokens into the choice until it is finished; yields each batch, without stop tokens."""
    answers = engine.sample(served.base_id, sample)
    try:
        async for item in answers:
            batch = []
            for token in item.tokens:
                choice.tokens += 1
                if token.token in sample.stop_tokens:
                    continue
                batch.append(token)
                choice.add(choice.decoder.push(token.token))
                if choice.finish_reason is not None:
                    break
            choice.sampled += batch
            if choice.finish_reason is None and item.finish_reason is not None:
                choice.add(choice.decoder.flush())
                choice.finish_reason = choice.finish_reason or item.finish_reason
            yield batch
            if choice.finish_reason is not None:
                return
    finally:
        await answers.aclose()  # type: ignore[attr-defined]


async def finish_all(
    engine: ChatEngine, served: Served, samples: Sequence[SampleRequest], parameters: SamplingParameters
) -> list[Choice]:
    """Every choice grown to its end, side by side."""

    async def finish(index: int, sample: SampleRequest) -> Choice:
        choice = new_choice(served, parameters, index)
        async for _ in grow(engine, served, sample, choice):
            pass
        return choice

    tasks = [asyncio.create_task(finish(index, sample)) for index, sample in enumerate(samples)]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        # Where one choice failed, nobody needs the others.
        for task in tasks:
            task.cancel()


async def merge(streams: Sequence[AsyncIterator[Any]]) -> AsyncIterator[Any]:
    """Items of several streams as they come. The first failure is raised; leaving early stops them all."""
    queue: asyncio.Queue[tuple[bool, Any]] = asyncio.Queue()
    tasks = [asyncio.create_task(_feed(queue, stream)) for stream in streams]
    running = len(tasks)
    try:
        while running:
            is_end, item = await queue.get()
            if not is_end:
                yield item
            elif item is None:
                running -= 1
            else:
                raise item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _feed(queue: asyncio.Queue[tuple[bool, Any]], items: AsyncIterator[Any]) -> None:
    """Pass on items, then the end: None, or what went wrong, which `merge` raises."""
    failure: BaseException | None = None
    try:
        async for item in items:
            queue.put_nowait((False, item))
    except Exception as error:
        failure = error
    queue.put_nowait((True, failure))


def logprob_entry(tokenizer: Tokenizer, token: Token) -> dict[str, Any]:
    """One element of `logprobs.content`."""

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
