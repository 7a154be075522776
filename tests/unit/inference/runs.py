"""Prompts for the tiny base, and a way to run requests through an engine and collect what comes out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from tunery.inference.engine import Engine
from tunery.types.sampling import Sampled, SampleFailed, SampleRequest, Token

VOCABULARY = 96
POSITIONS = 512


@dataclass(frozen=True)
class Answer:
    """All that came out of an engine for one request."""

    tokens: list[Token]
    end: str
    """The finish reason, or the failure's code."""
    message: str = ""

    @property
    def ids(self) -> list[int]:
        return [token.token for token in self.tokens]


def request(request_id: int, prompt: list[int], **parameters: Any) -> SampleRequest:
    """Greedy, eight tokens, no adapter, unless said otherwise."""
    fields = {"adapter": None, "max_tokens": 8, "temperature": 0.0, "seed": request_id} | parameters
    return SampleRequest(id=request_id, prompt=prompt, **fields)


def draw_prompt(length: int, *, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(1000 * seed + length)
    return torch.randint(0, VOCABULARY, (length,), generator=generator).tolist()


def run(engine: Engine, requests: Iterable[SampleRequest], *, steps_max: int = 5000) -> dict[int, Answer]:
    """Submit all at once and step until the engine is idle."""
    for request in requests:
        engine.submit(request)
    return drain(engine, steps_max=steps_max)


def drain(engine: Engine, *, steps_max: int = 5000) -> dict[int, Answer]:
    answers = Collected()
    for _ in range(steps_max):
        if engine.idle:
            return answers.done
        answers.take(engine.step())
    raise AssertionError(f"the engine is not idle after {steps_max} steps")


class Collected:
    """Puts an engine's messages together; fails on a message for a request that has ended."""

    def __init__(self) -> None:
        self.done: dict[int, Answer] = {}
        self.tokens: dict[int, list[Token]] = {}

    def take(self, messages: list[Sampled | SampleFailed]) -> None:
        for message in messages:
            assert message.id not in self.done
            tokens = self.tokens.setdefault(message.id, [])
            if isinstance(message, SampleFailed):
                self.done[message.id] = Answer(tokens, message.code, message.message)
                continue
            tokens += message.tokens
            if message.finish_reason is not None:
                self.done[message.id] = Answer(tokens, message.finish_reason)
