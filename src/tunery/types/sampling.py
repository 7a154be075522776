"""The engine port: tokens in, tokens and log-probabilities out. Spoken between the server and a serving host."""

from typing import Literal

from msgspec import Struct


class AdapterRef(Struct, frozen=True):
    """Which adapter answers: loaded on first use, checked against its manifest, kept in an LRU."""

    path: str
    """Absolute folder in PEFT's format."""
    sha256: str
    """Digest of the folder's manifest.json; also the adapter's identity in every cache."""


class SampleRequest(Struct, frozen=True, tag=True, kw_only=True):
    """One sequence to continue. `n` choices are n requests with seeds of their own."""

    id: int
    prompt: list[int]
    adapter: AdapterRef | None
    max_tokens: int
    temperature: float = 1.0
    """0 takes the most likely token."""
    top_p: float = 1.0
    seed: int
    """Position i of the answer draws from a generator of (seed, i) alone, so an answer never depends on neighbours."""
    stop_tokens: tuple[int, ...] = ()
    """Ends the sequence; the stop token itself is reported with finish_reason `stop`."""
    top_logprobs: int = 0
    """How many alternatives are reported beside each token, 0 to 20."""
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: dict[int, float] = {}


class Cancel(Struct, frozen=True, tag=True):
    """The client no longer needs the request; its slot is free at the next step."""

    id: int


ToEngine = SampleRequest | Cancel


class Token(Struct, frozen=True):
    token: int
    logprob: float
    """Natural log-probability under the unscaled model (temperature 1, no penalties), as the API reports it."""
    top: list[tuple[int, float]] = []


class Sampled(Struct, frozen=True, tag=True):
    """Tokens of one request since its last message; the last message carries the finish reason."""

    id: int
    tokens: list[Token]
    finish_reason: Literal["stop", "length"] | None = None


class SampleFailed(Struct, frozen=True, tag=True):
    """The request is over without an answer; `code` is an API error code."""

    id: int
    code: str
    message: str


FromEngine = Sampled | SampleFailed
