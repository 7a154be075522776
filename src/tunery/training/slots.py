"""A job on a resident base: its weights, optimizer, method and pending verb. The host's loop advances it verb by verb.

A slot never loops: each call does at most one micro-batch or one optimizer step (or writes one artefact), so the host
can interleave slots, cancel at the next micro-batch by dropping one, and pause at the next optimizer step. Slots whose
pending verbs are forward passes over the same base can share one, see advance_together.
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunery.data.tokens import TokenFile
from tunery.errors import JobError
from tunery.modeling.llama import CausalLM
from tunery.training.batches import Batches, Examples
from tunery.training.checkpoints import (
    Snapshot,
    load_snapshot,
    publish_checkpoint,
    publish_snapshot,
    restore,
)
from tunery.training.forward import Request, score
from tunery.training.optim import Optimizer
from tunery.training.reports import (
    Artefact,
    Body,
    CheckpointSaved,
    Failed,
    Finished,
    Paused,
    SnapshotSaved,
    Started,
    Warned,
)
from tunery.training.sft import supervised
from tunery.training.spec import TrainSpec
from tunery.training.verbs import Emit, LogProbs, Save, Scored, Step, StepEnd, Updated, Verb
from tunery.training.weights import start_weights

METHODS = {"supervised": supervised}

_SKIPS_IN_A_ROW_MAX = 3
_SKIPS_WINDOW_STEPS = 1000
_SKIPS_IN_WINDOW_MAX = 10


def open_slot(spec: TrainSpec, base: CausalLM, *, output_path: Path, resume_path: Path | None) -> "Slot":
    """A slot on the spec's token files. Raises OSError or ValueError when they, the adapter or snapshot do not fit."""
    return Slot(
        spec,
        base,
        train=TokenFile(Path(spec.train_path)),
        valid=None if spec.valid_path is None else TokenFile(Path(spec.valid_path)),
        output_path=output_path,
        resume_path=resume_path,
    )


class Slot:
    """One run of one job, from its first step or a snapshot to its end."""

    def __init__(
        self,
        spec: TrainSpec,
        base: CausalLM,
        *,
        train: Examples,
        valid: Examples | None,
        output_path: Path,
        resume_path: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.done = False
        """Nothing is left to advance: finished, paused or failed."""
        self._output_path = output_path
        self._clock = clock
        self._snapshot_at = clock() + spec.snapshot_seconds
        self._pause_requested = False
        self._reports: list[Body] = []
        self.weights = start_weights(spec, base)
        """What is trained, as it is after the last step; rollouts and tests read it."""
        self._optimizer = Optimizer(self.weights.parameters(), spec.optimizer)
        self._skipped_steps: list[int] = []
        self._step = 0
        self._final: Artefact | None = None
        if resume_path is not None:
            self._resume(resume_path)
        self._reports.append(Started(total_steps=spec.total_steps, resumed_at_step=self._step))
        self._method = METHODS[spec.method](
            spec,
            train=self._batch(train),
            valid=None if valid is None else self._batch(valid),
            done_steps=self._step,
            clock=clock,
        )
        self._pending: Verb | None = None

    @property
    def step(self) -> int:
        """Optimizer steps done, skipped ones among them."""
        return self._step

    @property
    def model(self) -> CausalLM:
        """What the pending forward pass runs on: the shared base, or this slot's own weights."""
        return self.weights.model

    @property
    def shares_base(self) -> bool:
        """Whether this slot's forward passes may be joined with others' on the same base."""
        return self.weights.adapter is not None

    @property
    def request(self) -> Request | None:
        """The pending forward pass, or None when something else is pending."""
        if not isinstance(self._pending, LogProbs):
            return None
        return Request(rows=self._pending.rows, loss=self._pending.loss, adapter=self.weights.adapter)

    def request_pause(self) -> None:
        """At the end of the running optimizer step: snapshot, report SnapshotSaved and Paused, be done."""
        self._pause_requested = True

    def close(self) -> None:
        """Leave at once and keep nothing. Files published so far stay; weights and moments are free for collection."""
        self.done = True
        self._method.close()
        self._pending = None
        for name in ("weights", "_optimizer"):
            vars(self).pop(name, None)

    def advance(self) -> list[Body]:
        """Do the pending verb; answers what there is to report.

        The first call only reports Started. A JobError becomes Failed; any other exception is a bug or a lack of
        memory or disk and goes to the host's slot boundary.
        """
        try:
            if self._pending is None:
                return self.accept(None)
            request = self.request
            if request is not None:
                return self.accept(score(self.model, [request])[0])
            return self.accept(self._perform(self._pending))
        except JobError as error:
            self.done = True
            return [*self._drain(), Failed(code=error.code, message=error.message)]

    def accept(self, answer: Scored | Updated | None) -> list[Body]:
        """Take the answer to the pending verb and go on to the next one that costs work."""
        self._go_on(answer)
        while isinstance(self._pending, Emit | StepEnd) and not self.done:
            self._go_on(self._perform(self._pending))
        return self._drain()

    def _go_on(self, answer: Scored | Updated | None) -> None:
        if self.done:
            return
        try:
            self._pending = self._method.send(answer)
        except StopIteration:
            self.done = True
            assert self._final is not None, "a method ends with the Save of its last step"
            self._reports.append(Finished(step=self._step, artefact=self._final))

    def _drain(self) -> list[Body]:
        reports, self._reports = self._reports, []
        return reports

    def _perform(self, verb: Any) -> Updated | None:
        match verb:
            case Step():
                return self._take_step(verb)
            case Save(step):
                self._save(step)
            case Emit(body):
                self._reports.append(body)
            case StepEnd(step):
                self._end_step(step)
        return None

    def _take_step(self, verb: Step) -> Updated:
        self._step = verb.step
        if not math.isfinite(verb.loss):
            self._optimizer.clear()
            self._skip(verb.step, f"loss {verb.loss}")
            return Updated(grad_norm=math.nan, skipped=True)
        grad_norm = self._optimizer.step(learning_rate=verb.learning_rate)
        skipped = not math.isfinite(grad_norm)
        if skipped:
            self._skip(verb.step, f"gradient norm {grad_norm}")
        return Updated(grad_norm=grad_norm, skipped=skipped)

    def _skip(self, step: int, reason: str) -> None:
        self._skipped_steps.append(step)
        self._reports.append(Warned(message=f"Step {step} was skipped: its {reason} is not finite."))
        in_a_row = self._skipped_steps[-_SKIPS_IN_A_ROW_MAX:] == list(range(step - _SKIPS_IN_A_ROW_MAX + 1, step + 1))
        in_window = sum(skipped > step - _SKIPS_WINDOW_STEPS for skipped in self._skipped_steps)
        if in_a_row or in_window >= _SKIPS_IN_WINDOW_MAX:
            raise JobError(
                f"Training diverged: {in_window} of the last {min(step, _SKIPS_WINDOW_STEPS)} steps had a loss or "
                "gradient that is not finite. A lower learning_rate_multiplier may help.",
                code="training_diverged",
            )

    def _save(self, step: int) -> None:
        artefact = publish_checkpoint(self._output_path, self.weights, step=step, base_sha256=self.spec.base_sha256)
        if step == self.spec.total_steps:
            self._final = artefact
        else:
            self._reports.append(CheckpointSaved(step=step, artefact=artefact))

    def _end_step(self, step: int) -> None:
        if step == self.spec.total_steps:
            return
        if self._pause_requested or self._clock() >= self._snapshot_at:
            artefact = publish_snapshot(self._output_path, self._take_snapshot())
            self._reports.append(SnapshotSaved(step=step, artefact=artefact))
            self._snapshot_at = self._clock() + self.spec.snapshot_seconds
        if self._pause_requested:
            self._reports.append(Paused(step=step))
            self.done = True

    def _take_snapshot(self) -> Snapshot:
        return Snapshot(
            step=self._step,
            parameters=self.weights.parameters(),
            moments=self._optimizer.state(),
            skipped_steps=tuple(self._skipped_steps),
        )

    def _resume(self, folder: Path) -> None:
        snapshot = load_snapshot(folder)
        restore(self.weights.parameters(), snapshot)
        self._optimizer.load_state(snapshot.moments)
        self._skipped_steps = list(snapshot.skipped_steps)
        self._step = snapshot.step

    def _batch(self, examples: Examples) -> Batches:
        return Batches(
            examples=examples,
            batch_size=self.spec.batch_size,
            tokens_max=self.spec.micro_batch_tokens_max,
            seed=self.spec.seed,
            device=self.spec.device,
        )


def advance_together(slots: Sequence[Slot]) -> list[list[Body]]:
    """Advance every slot by one verb, joining the forward passes of those that share the base; reports by slot.

    All slots are on one base. A group's slot gets what it would get alone, so callers are free in whom they join.
    """
    requests = [slot.request if slot.shares_base else None for slot in slots]
    joined = [(slot, request) for slot, request in zip(slots, requests, strict=True) if request is not None]
    scored = score(joined[0][0].model, [request for _, request in joined]) if joined else []
    answers = iter(scored)
    return [
        slot.advance() if request is None else slot.accept(next(answers))
        for slot, request in zip(slots, requests, strict=True)
    ]
