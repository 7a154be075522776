"""Requests in, tokens out: continuous batching over one base model and the adapters trained on it.

The engine is a library inside a host: single-threaded, told what to do between steps, doing a bounded piece of work in
each. A request gets the same tokens and, on CPU, the same log-probabilities bit for bit whatever else is running:
decoding always multiplies 16 rows (a matrix product of few rows takes another kernel), attention and sampling look at
each row alone, and a prompt is computed by itself in chunks that its own length determines.

Shapes: N rows of a decoding batch, T rows of a chunk, D width, V vocabulary.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from tunery.inference.adapters import AdapterCache, ResidentAdapter, UnusableAdapter
from tunery.inference.attention import ChunkAttention, DecodeAttention, Running
from tunery.inference.bundles import Bundle, RowAdapters, make_bundles, probe_bundles
from tunery.inference.kv_cache import CHUNK_TOKENS, Extent, KVCache, round_up
from tunery.inference.sampling import Sampler, sample
from tunery.modeling.llama import CausalLM
from tunery.modeling.lora import LoraSegments, Segment
from tunery.observability import logger
from tunery.types.sampling import Sampled, SampleFailed, SampleRequest, Token

BATCH_ROWS = 16
_ROW_MULTIPLE = 32
_CHUNKS_PER_DECODE = 4
_log = logger("engine")


@dataclass(eq=False, kw_only=True)
class _Sequence:
    """A request that holds a row and an extent."""

    request: SampleRequest
    row: int
    extent: Extent
    adapter: ResidentAdapter | None
    tokens_max: int
    """Length of the longest answer: what was asked for, or what the context leaves."""
    sampler: Sampler
    started: bool = False
    """Whether a shared beginning has been looked for."""
    last_token: int | None = None
    """The newest token, not fed to the model yet; None while the prompt is being computed."""


@dataclass(eq=False)
class _Batch:
    """Sixteen rows that decode together."""

    rows: list[_Sequence | None] = field(default_factory=lambda: [None] * BATCH_ROWS)
    bundles: list[Bundle] = field(default_factory=list)
    """The rows' adapters, made anew when the set changes."""
    bundled: frozenset[str] = frozenset()
    """Digests of the adapters in `bundles`."""
    adapters: RowAdapters | None = None
    """None after a row has changed hands."""

    def decoding(self) -> list[_Sequence]:
        return [one for one in self.rows if one is not None and one.last_token is not None]

    def lay_out(self, device: torch.device, *, together: bool) -> RowAdapters:
        """Each row's adapter for the next forward passes."""
        if self.adapters is None:
            by_row = [one.adapter if one is not None else None for one in self.rows]
            digests = frozenset(one.sha256 for one in by_row if one is not None)
            if digests != self.bundled:
                self.bundles, self.bundled = make_bundles(by_row, together=together), digests
            self.adapters = RowAdapters(by_row, self.bundles, device=device)
        return self.adapters


class Engine:
    """Continuous batching behind the port of types.sampling.

    `slots` sequences run at once (rounded up to batches of 16), holding together at most `cache_tokens_max` tokens of
    keys and values; each reserves prompt and longest answer when it starts. Up to `waiting_max` more requests wait in
    order of arrival. `adapters_max` bounds the adapters in memory, except that running sequences keep theirs.
    """

    def __init__(
        self,
        model: CausalLM,
        *,
        slots: int = BATCH_ROWS,
        cache_tokens_max: int = 32768,
        adapters_max: int = 32,
        waiting_max: int = 512,
        cache_dtype: torch.dtype = torch.float32,
    ) -> None:
        self._model = model
        self._cache = KVCache(model.config, tokens_max=cache_tokens_max, dtype=cache_dtype, device=model.device)
        self._adapters = AdapterCache(model.linear_shapes, adapters_max=adapters_max, device=model.device)
        self._context_tokens = min(model.config.positions_max, self._cache.tokens_max)
        self._bundles_exact = probe_bundles(model.linear_shapes, rows=BATCH_ROWS, device=model.device)
        self._waiting_max = waiting_max
        self._batches = [_Batch() for _ in range(round_up(slots, BATCH_ROWS) // BATCH_ROWS)]
        self._waiting: deque[SampleRequest] = deque()
        self._running: dict[int, _Sequence] = {}
        self._refused: list[SampleFailed] = []
        self._chunks_since_decode = 0

    @property
    def idle(self) -> bool:
        """Whether `step` has nothing to do."""
        return not (self._running or self._waiting or self._refused)

    def submit(self, request: SampleRequest) -> None:
        """Queue a request; its answer, or its refusal, comes out of `step`. Ids of requests under way are unique."""
        assert request.id not in self._running, f"request {request.id} is under way already"
        refused = self._refuse(request)
        if refused is None:
            self._waiting.append(request)
        else:
            self._refused.append(refused)

    def cancel(self, request_id: int) -> None:
        """Forget a request; nothing more comes out for it. Unknown ids, which may just have ended, are fine."""
        if request_id in self._running:
            self._leave(self._running[request_id])
        self._waiting = deque(one for one in self._waiting if one.id != request_id)
        self._refused = [one for one in self._refused if one.id != request_id]

    @torch.no_grad()
    def step(self) -> list[Sampled | SampleFailed]:
        """One bounded piece of work: a chunk of one prompt, or one token for every running sequence.

        Prompts go first, since a fuller batch costs no more, but running answers get a token after every few chunks.
        """
        answers: list[Sampled | SampleFailed] = [*self._refused]
        self._refused = []
        answers += self._admit()
        prompts = [one for one in self._running.values() if one.last_token is None]
        if prompts and (len(prompts) == len(self._running) or self._chunks_since_decode < _CHUNKS_PER_DECODE):
            self._chunks_since_decode += 1
            answers += self._advance_prompt(prompts[0])
        elif self._running:
            self._chunks_since_decode = 0
            for batch in self._batches:
                answers += self._decode(batch)
        return answers

    def close(self) -> None:
        """Forget all requests, adapters and cached keys; the engine cannot be used afterwards."""
        self._waiting.clear()
        self._running.clear()
        self._refused.clear()
        self._batches.clear()
        self._adapters.clear()
        self._cache.clear()

    def _refuse(self, request: SampleRequest) -> SampleFailed | None:
        n_prompt, vocabulary = len(request.prompt), self._model.config.vocab_size
        if n_prompt >= self._context_tokens:
            return SampleFailed(
                id=request.id,
                code="context_length_exceeded",
                message=f"This model's maximum context length is {self._context_tokens} tokens. However, your messages "
                f"resulted in {n_prompt} tokens. Please reduce the length of the messages.",
            )
        strange = [token for token in (*request.prompt, *request.logit_bias) if not 0 <= token < vocabulary]
        if strange or not request.prompt or request.max_tokens < 1:
            reason = (
                f"token {strange[0]} is not in the vocabulary" if strange else "prompt and answer need a token each"
            )
            return SampleFailed(id=request.id, code="invalid_value", message=f"The request cannot be run: {reason}.")
        if len(self._waiting) >= self._waiting_max:
            return SampleFailed(
                id=request.id,
                code="rate_limit_exceeded",
                message=f"{len(self._waiting)} requests are waiting for this model already. Please try again later.",
            )
        return None

    def _admit(self) -> list[SampleFailed]:
        """Give rows to waiting requests in order, as long as rows and cache last."""
        failed = []
        while self._waiting and (place := self._find_row()) is not None:
            request = self._waiting[0]
            tokens_max = min(request.max_tokens, self._context_tokens - len(request.prompt))
            adapter_key = request.adapter.sha256 if request.adapter is not None else None
            extent = self._cache.reserve(len(request.prompt) + tokens_max, adapter_key=adapter_key)
            if extent is None:
                break
            self._waiting.popleft()
            try:
                adapter = self._fetch(request)
            except UnusableAdapter as error:
                self._cache.release(extent)
                message = f"The tuned model cannot be loaded: {error}."
                failed.append(SampleFailed(id=request.id, code="model_not_found", message=message))
                continue
            batch, row = place
            sequence = _Sequence(
                request=request,
                row=row,
                extent=extent,
                adapter=adapter,
                tokens_max=tokens_max,
                sampler=Sampler(request),
            )
            batch.rows[row], batch.adapters = sequence, None
            self._running[request.id] = sequence
        return failed

    def _find_row(self) -> tuple[_Batch, int] | None:
        free = ((batch, row) for batch in self._batches for row, one in enumerate(batch.rows) if one is None)
        return next(free, None)

    def _fetch(self, request: SampleRequest) -> ResidentAdapter | None:
        if request.adapter is None:
            return None
        in_use = [one.adapter.sha256 for one in self._running.values() if one.adapter is not None]
        return self._adapters.fetch(request.adapter, in_use=in_use)

    def _leave(self, sequence: _Sequence) -> None:
        del self._running[sequence.request.id]
        self._cache.release(sequence.extent)
        for batch in self._batches:
            if batch.rows[sequence.row] is sequence:
                batch.rows[sequence.row], batch.adapters = None, None

    def _advance_prompt(self, sequence: _Sequence) -> list[Sampled | SampleFailed]:
        """Compute one chunk of a prompt, and the answer's first token once the prompt is whole."""
        try:
            if not sequence.started:
                sequence.started = True
                self._cache.adopt_prefix(sequence.extent, sequence.request.prompt)
            if sequence.extent.final_D is None:
                self._compute_chunk(sequence)
            if sequence.extent.final_D is None:
                return []
            logits_V = self._score(sequence.extent.final_D.unsqueeze(0))
            return self._draw(logits_V, [sequence])
        except Exception:
            _log.exception("a prompt could not be computed", request_id=sequence.request.id)
            return [self._fail(sequence, "The model could not process this request.")]

    def _compute_chunk(self, sequence: _Sequence) -> None:
        extent, prompt = sequence.extent, sequence.request.prompt
        past = len(extent.prompt)
        chunk = prompt[past : past + CHUNK_TOKENS]
        n_rows = round_up(len(chunk), _ROW_MULTIPLE)
        device = self._model.device
        hidden_TD = self._model.hidden(
            torch.tensor(chunk + [0] * (n_rows - len(chunk)), device=device),
            positions=torch.arange(past, past + n_rows, device=device).clamp_(max=self._model.config.positions_max - 1),
            attend=ChunkAttention(self._cache, extent, past),
            lora=LoraSegments([Segment(n_rows, sequence.adapter.adapter)]) if sequence.adapter is not None else None,
        )
        extent.prompt = prompt[: past + len(chunk)]
        extent.length = len(extent.prompt)
        if extent.length == len(prompt):
            extent.final_D = hidden_TD[len(chunk) - 1].clone()

    def _score(self, hidden_ND: Tensor) -> Tensor:
        """Scores of up to 16 rows, by a product of exactly 16."""
        n_rows = hidden_ND.shape[0]
        return self._model.logits(F.pad(hidden_ND, (0, 0, 0, BATCH_ROWS - n_rows)))[:n_rows]

    def _decode(self, batch: _Batch) -> list[Sampled | SampleFailed]:
        sequences = batch.decoding()
        if not sequences:
            return []
        tokens, positions = [0] * BATCH_ROWS, [0] * BATCH_ROWS
        for one in sequences:
            assert one.last_token is not None
            tokens[one.row], positions[one.row] = one.last_token, one.extent.length
        running = [Running(one.row, one.extent, one.extent.length) for one in sequences]
        hidden_ND = self._model.hidden(
            torch.tensor(tokens, device=self._model.device),
            positions=torch.tensor(positions, device=self._model.device),
            attend=DecodeAttention(self._cache, running, rows=BATCH_ROWS),
            lora=batch.lay_out(self._model.device, together=self._bundles_exact),
        )
        logits_NV = self._model.logits(hidden_ND)
        for one in sequences:
            one.extent.length += 1
        if len(sequences) < BATCH_ROWS:
            logits_NV = logits_NV[[one.row for one in sequences]]
        return self._draw(logits_NV, sequences)

    def _draw(self, logits_NV: Tensor, sequences: list[_Sequence]) -> list[Sampled | SampleFailed]:
        """The next token of each sequence; those that end leave."""
        answers: list[Sampled | SampleFailed] = []
        drawn = sample(logits_NV, [one.sampler for one in sequences])
        for sequence, token in zip(sequences, drawn, strict=True):
            if token is None:
                message = "The model's scores for this request are not finite numbers; its training may have diverged."
                answers.append(self._fail(sequence, message))
                continue
            sequence.last_token = token.token
            reason = _finish_reason(sequence, token)
            answers.append(Sampled(id=sequence.request.id, tokens=[token], finish_reason=reason))
            if reason is not None:
                self._leave(sequence)
        return answers

    def _fail(self, sequence: _Sequence, message: str) -> SampleFailed:
        self._leave(sequence)
        return SampleFailed(id=sequence.request.id, code="server_error", message=message)


def _finish_reason(sequence: _Sequence, token: Token) -> Literal["stop", "length"] | None:
    if token.token in sequence.request.stop_tokens:
        return "stop"
    return "length" if sequence.sampler.position >= sequence.tokens_max else None
