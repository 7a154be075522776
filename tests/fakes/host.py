"""A host whose trainer only sleeps and whose engine only echoes: real process, real messages, real artefacts.

A job's seed chooses how it behaves, see `Behaviour`.
"""

import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery.blobs.artefacts import publish, read_manifest
from tunery.host.process import Arguments, Parts, parse, run
from tunery.training.reports import (
    Artefact,
    Body,
    CheckpointSaved,
    Failed,
    Finished,
    Paused,
    SnapshotSaved,
    Start,
    Started,
    StepMetrics,
    Stepped,
)
from tunery.types.sampling import FromEngine, Sampled, SampleRequest, Token

STEP_SECONDS = 0.02
SLOW_STEP_SECONDS = 0.2
SLOW_TOKEN_SECONDS = 0.05
SLOW_SEED = 1_000_005


@dataclass(frozen=True)
class Behaviour:
    """What a seed means."""

    ORDINARY = 0
    SEGFAULT_AT_STEP_2 = 1_000_001
    DIVERGE_AT_STEP_2 = 1_000_002
    FREEZE_AT_STEP_2 = 1_000_003
    FREEZE_ONCE_AT_STEP_2 = 1_000_004
    SLOW = 1_000_005
    """A step takes 0.2 s."""


class SleepingSlot:
    """Counts steps, one each advance; a snapshot holds the step."""

    def __init__(self, start: Start) -> None:
        self._spec = start.spec
        self._output = Path(start.output_path)
        self._step = int(read_manifest(Path(start.resume_path)).facts["step"]) if start.resume_path else 0
        self._began = self._saved = self._step
        self._told = False
        self._pausing = False
        self._paused = False

    def advance(self) -> Sequence[Body]:
        if not self._told:
            self._told = True
            return [Started(self._spec.total_steps, self._step)]
        if self._pausing:
            saved = [] if self._step == self._saved else [self._snapshot()]
            return [*saved, Paused(self._step)]
        return self._train()

    def request_pause(self) -> None:
        self._pausing = True

    def close(self) -> None:
        return

    def _train(self) -> Sequence[Body]:
        time.sleep(SLOW_STEP_SECONDS if self._spec.seed == Behaviour.SLOW else STEP_SECONDS)
        self._step += 1
        if self._step == 2:
            self._misbehave()
        if self._spec.seed == Behaviour.DIVERGE_AT_STEP_2 and self._step == 2:
            return [Failed("training_diverged", "The loss was not finite for 3 steps in a row.")]
        bodies: list[Body] = [Stepped(self._metrics())]
        per_epoch = self._spec.total_steps // self._spec.n_epochs
        if self._step == self._spec.total_steps:
            return [*bodies, Finished(self._step, self._publish("checkpoint"))]
        if self._step % per_epoch == 0:
            bodies.append(CheckpointSaved(self._step, self._publish("checkpoint")))
        return [*bodies, self._snapshot()]

    def _misbehave(self) -> None:
        if self._spec.seed == Behaviour.SEGFAULT_AT_STEP_2:
            os.kill(os.getpid(), signal.SIGSEGV)
        marker = self._output.parent / "has-been-frozen"
        once = self._spec.seed == Behaviour.FREEZE_ONCE_AT_STEP_2 and not marker.exists()
        if once:
            marker.touch()
        if once or self._spec.seed == Behaviour.FREEZE_AT_STEP_2:
            os.kill(os.getpid(), signal.SIGSTOP)

    def _metrics(self) -> StepMetrics:
        last = self._step == self._spec.total_steps and self._spec.valid_path is not None
        return StepMetrics(
            step=self._step,
            train_loss=1.0 / self._step,
            train_accuracy=0.5,
            grad_norm=1.0,
            learning_rate=1e-3,
            tokens=100,
            supervised_tokens=50,
            seconds=STEP_SECONDS,
            full_valid_loss=0.5 if last else None,
            full_valid_accuracy=0.5 if last else None,
        )

    def _snapshot(self) -> SnapshotSaved:
        self._saved = self._step
        return SnapshotSaved(self._step, self._publish("snapshot"))

    def _publish(self, kind: str) -> Artefact:
        name = f"{kind}-{self._step}"

        def write(folder: Path) -> None:
            (folder / "weights.txt").write_text(f"{self._spec.job_id} at step {self._step}")

        published = publish(self._output / name, write, facts={"step": self._step})
        return Artefact(path=name, sha256=published.sha256, file_bytes=published.file_bytes)


class EchoEngine:
    """Answers with the prompt's own tokens: at once, or one at a time for SLOW_SEED."""

    def __init__(self) -> None:
        self._waiting: dict[int, SampleRequest] = {}
        self._said: dict[int, int] = {}

    @property
    def idle(self) -> bool:
        return not self._waiting

    def submit(self, request: SampleRequest) -> None:
        self._waiting[request.id] = request
        self._said[request.id] = 0

    def cancel(self, request_id: int) -> None:
        self._waiting.pop(request_id, None)

    def step(self) -> Sequence[FromEngine]:
        answers = [self._continue(request) for request in self._waiting.values()]
        for answer in answers:
            if answer.finish_reason is not None:
                del self._waiting[answer.id]
        return answers

    def _continue(self, request: SampleRequest) -> Sampled:
        slow = request.seed == SLOW_SEED
        if slow:
            time.sleep(SLOW_TOKEN_SECONDS)
        said = self._said[request.id]
        end = said + 1 if slow else len(request.prompt)
        tokens = request.prompt[said : min(end, request.max_tokens)]
        self._said[request.id] = said + len(tokens)
        over = self._said[request.id] == len(request.prompt)
        cut = self._said[request.id] == request.max_tokens
        reason = "stop" if over else "length" if cut else None
        top = [(token, -0.5 - rank) for rank, token in enumerate(request.prompt[: request.top_logprobs])]
        return Sampled(request.id, [Token(token, -0.5, top) for token in tokens], reason)


def load(arguments: Arguments) -> Parts:
    engine: Any = EchoEngine() if "serve" in arguments.roles else None
    return Parts(make_slot=SleepingSlot, engine=engine, trim=lambda: None)


if __name__ == "__main__":
    run(parse(sys.argv[1:]), load)
