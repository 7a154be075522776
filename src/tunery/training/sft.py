"""Supervised fine-tuning, top to bottom: the mean negative log-likelihood of the examples' supervised tokens.

loss = -sum_i w_i log p(y_i | y_<i) / sum_i w_i        over all supervised tokens i of the optimizer step
"""

from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any

from tunery.training.batches import Batch, Batches, MicroBatch, shuffle
from tunery.training.losses import cross_entropy
from tunery.training.optim import learning_rate
from tunery.training.reports import StepMetrics, Stepped
from tunery.training.spec import TrainSpec
from tunery.training.verbs import Emit, LogProbs, Method, Save, Scored, Step, StepEnd, Updated, Verb


def supervised(
    spec: TrainSpec, *, train: Batches, valid: Batches | None, done_steps: int, clock: Callable[[], float]
) -> Method:
    """Steps `done_steps` + 1 to the last, each with its metrics; a checkpoint and full validation end every epoch."""
    for step in range(done_steps + 1, spec.total_steps + 1):
        started = clock()
        batch = train.batch(step)
        scores = Scores()
        for rows in batch.micro_batches:
            loss = partial(cross_entropy, weights_P=rows.weights_P, weight_total=batch.weight_total)
            scores.add(rows, (yield LogProbs(rows, loss)))
        rate = learning_rate(spec.optimizer, step=step, total_steps=spec.total_steps)
        updated: Updated = yield Step(step=step, learning_rate=rate, loss=scores.loss)
        seconds = clock() - started

        ends_epoch = step % train.steps_per_epoch == 0 or step == spec.total_steps
        sampled = swept = None
        if valid is not None and (ends_epoch or step % spec.valid_interval_steps == 0):
            sampled = yield from validate(sample(valid, spec).micro_batches)
        if valid is not None and ends_epoch:
            swept = yield from validate(valid.sweep())
        if not updated.skipped:
            metrics = StepMetrics(
                step=step,
                train_loss=scores.loss,
                train_accuracy=scores.accuracy,
                grad_norm=updated.grad_norm,
                learning_rate=rate,
                tokens=batch.n_tokens,
                supervised_tokens=batch.n_supervised,
                seconds=seconds,
                valid_loss=sampled.mean if sampled else None,
                valid_accuracy=sampled.accuracy if sampled else None,
                full_valid_loss=swept.mean if swept else None,
                full_valid_accuracy=swept.accuracy if swept else None,
            )
            yield Emit(Stepped(metrics))
        if ends_epoch:
            yield Save(step)
        yield StepEnd(step)


class Scores:
    """Sums over micro-batches."""

    def __init__(self) -> None:
        self.loss = 0.0
        """Of the optimizer step, as far as its micro-batches have been added."""
        self._log_likelihood = 0.0
        self._weight = 0.0
        self._correct = 0
        self._supervised = 0

    def add(self, rows: MicroBatch, scored: Scored) -> None:
        self.loss += scored.loss
        self._log_likelihood += float((rows.weights_P * scored.logprobs_P).sum())
        self._weight += float(rows.weights_P.sum())
        self._correct += int(scored.correct_P.sum())
        self._supervised += len(scored.correct_P)

    @property
    def mean(self) -> float:
        """Mean negative log-likelihood in nats, 0 over nothing."""
        return -self._log_likelihood / self._weight if self._weight else 0.0

    @property
    def accuracy(self) -> float:
        """Share of supervised tokens that were the likeliest, 0 over nothing."""
        return self._correct / self._supervised if self._supervised else 0.0


def sample(valid: Batches, spec: TrainSpec) -> Batch:
    """The same few validation examples at every look, so that the curve shows the training and not the draw."""
    order = shuffle(len(valid.examples), seed=spec.seed, epoch=0)
    return valid.collect(sorted(order[: spec.valid_sample_rows]))


def validate(micro_batches: Iterable[MicroBatch]) -> Generator[Verb, Any, Scores]:
    """Score examples without training on them."""
    scores = Scores()
    for rows in micro_batches:
        scores.add(rows, (yield LogProbs(rows, None)))
    return scores
