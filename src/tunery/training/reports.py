"""What a host and its runner say to each other: frames of msgpack over a socketpair, tensors travel as files.

Every report carries (job, epoch, n) with n counting from 1 inside one epoch of one job. A socketpair loses nothing, and
both sides notice its end, so nothing is ever sent again: a gap in the numbers is a mistake, and the runner takes the
run off its host. The runner acknowledges a report after the database commit; a draining host leaves only then.
"""

from typing import Literal

from msgspec import Struct

from tunery.training.spec import TrainSpec


class StepMetrics(Struct, frozen=True, kw_only=True):
    """What one optimizer step measured; `None` where nothing was measured at this step."""

    step: int
    """1-based optimizer step."""
    train_loss: float
    """Mean negative log-likelihood of the step's supervised tokens, in nats."""
    train_accuracy: float
    """Share of supervised tokens whose argmax is the label."""
    grad_norm: float
    learning_rate: float
    tokens: int
    """Tokens put through the model in this step, padding not counted."""
    supervised_tokens: int
    seconds: float
    valid_loss: float | None = None
    valid_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_accuracy: float | None = None


class Artefact(Struct, frozen=True, kw_only=True):
    """A complete folder under the job's blob prefix: every file in its manifest and flushed to disk."""

    path: str
    """Relative to the folder given in Start.output_path."""
    sha256: str
    """Digest of manifest.json, which holds each file's size and digest."""
    file_bytes: int


class Started(Struct, frozen=True, tag=True):
    """The base is resident and the first step is about to run."""

    total_steps: int
    resumed_at_step: int


class Stepped(Struct, frozen=True, tag=True):
    metrics: StepMetrics


class CheckpointSaved(Struct, frozen=True, tag=True):
    """A callable model at the end of an epoch other than the last; the last one comes with Finished."""

    step: int
    artefact: Artefact


class SnapshotSaved(Struct, frozen=True, tag=True):
    """Private state for resuming: adapter, moments, step. Never listed as a checkpoint."""

    step: int
    artefact: Artefact


class Paused(Struct, frozen=True, tag=True):
    """The slot has left the host after a snapshot (which came as SnapshotSaved just before)."""

    step: int


class Finished(Struct, frozen=True, tag=True):
    """The last step is done; `artefact` is the final model, which gets no CheckpointSaved of its own."""

    step: int
    artefact: Artefact


class Failed(Struct, frozen=True, tag=True):
    """The run cannot go on and a retry would not help; the message is meant for the user."""

    code: str
    message: str


class Warned(Struct, frozen=True, tag=True):
    """Something the user should know about while the run goes on (a skipped step, a dropped example)."""

    message: str


Body = Started | Stepped | CheckpointSaved | SnapshotSaved | Paused | Finished | Failed | Warned


class Report(Struct, frozen=True, tag=True):
    job_id: str
    epoch: int
    n: int
    body: Body


class Ready(Struct, frozen=True, tag=True):
    """The base is resident, and a serving host listens on the socket that it was given."""


class Heartbeat(Struct, frozen=True, tag=True):
    """Sent both ways; silence for one lease makes the host snapshot and exit."""

    n: int
    idle_seconds: float = 0.0
    """How long a serving host has had no request; 0 from the others and from the runner."""


class Stopped(Struct, frozen=True, tag=True):
    """A cancelled run is out of the host."""

    job_id: str
    epoch: int


FromHost = Report | Ready | Heartbeat | Stopped


class Start(Struct, frozen=True, tag=True):
    job_id: str
    epoch: int
    spec: TrainSpec
    output_path: str
    """Absolute folder of this epoch; all artefacts are made below it."""
    resume_path: str | None
    """Absolute folder of a complete snapshot, possibly of an earlier epoch."""


class Stop(Struct, frozen=True, tag=True):
    """`cancel` stops at the next micro-batch and keeps nothing; `pause` snapshots at the next optimizer step."""

    job_id: str
    epoch: int
    how: Literal["cancel", "pause"]


class Ack(Struct, frozen=True, tag=True):
    job_id: str
    epoch: int
    n: int


class Drain(Struct, frozen=True, tag=True):
    """Snapshot every slot at its next optimizer step, report them as paused, then exit with status 0."""


ToHost = Start | Stop | Ack | Drain | Heartbeat
