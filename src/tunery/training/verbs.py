"""What a training method asks of whoever runs it: a method is a generator over these verbs, the loop is elsewhere.

The runner of a slot answers each verb before it asks for the next one, so between two verbs it may serve other slots,
join the forward passes of several, stop, or pause. A verb is at most one micro-batch or one optimizer step of work.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tunery.training.batches import MicroBatch
from tunery.training.reports import Body


@dataclass(frozen=True)
class LogProbs:
    """Log-probabilities of a micro-batch's supervised tokens; answered with Scored.

    With a `loss`, its gradient is added to the slot's; without, nothing but the numbers is computed.
    """

    rows: MicroBatch
    loss: Callable[[Tensor], Tensor] | None
    """From log-probabilities (P, float32, differentiable) to a scalar."""


@dataclass(frozen=True)
class Scored:
    logprobs_P: Tensor
    """Detached, float32, in the order of the micro-batch's targets."""
    correct_P: Tensor
    """Bool: the target was the likeliest token."""
    loss: float
    """0 without a loss."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Clip what has been added up and take one optimizer step; answered with Updated."""

    step: int
    learning_rate: float
    loss: float
    """Of the whole step. Not finite: the step is skipped, as it is for a gradient that is not."""


@dataclass(frozen=True)
class Updated:
    grad_norm: float
    """Before clipping."""
    skipped: bool


@dataclass(frozen=True)
class Emit:
    """Tell the runner; answered with None."""

    body: Body


@dataclass(frozen=True)
class Save:
    """Publish the weights as they are after optimizer step `step` as a callable model; answered with None.

    After the last step they are the job's final model, so every method ends with this verb and a StepEnd.
    """

    step: int


@dataclass(frozen=True)
class StepEnd:
    """Everything about `step` is done and said: the only place where a slot may be snapshotted and left."""

    step: int


Verb = LogProbs | Step | Emit | Save | StepEnd
Method = Generator[Verb, Any, None]
