"""The estimate of a run's end, on runs as they are: ragged batches, validation now and then, a resumed attempt."""

import random

import pytest

from tunery.planning.time import finish_time

BEGAN_AT = 1_700_000_000.0


def times_of(*, steps: int, seed: int, valid_every: int, valid_seconds: float) -> list[float]:
    """When each step of a run ended: steps of 1 s, 40 % more or less, and a validation from time to time."""
    generator = random.Random(seed)
    now, ended = BEGAN_AT, []
    for step in range(1, steps + 1):
        now += generator.uniform(0.6, 1.4)
        if step % valid_every == 0:
            now += valid_seconds
        ended.append(now)
    return ended


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("steps", "valid_every"), [(120, 10), (300, 10), (1000, 50)])
def test_every_estimate_after_a_tenth_is_within_a_fifth(steps: int, valid_every: int, seed: int) -> None:
    ended = times_of(steps=steps, seed=seed, valid_every=valid_every, valid_seconds=1.5)
    duration = ended[-1] - BEGAN_AT
    for step in range(steps // 10, steps + 1):
        told = finish_time(now=ended[step - 1], began_at=BEGAN_AT, began_step=0, step=step, total_steps=steps)
        assert abs(told - ended[-1]) <= 0.2 * duration


def test_estimate_after_the_last_step_is_now() -> None:
    assert finish_time(now=BEGAN_AT + 7, began_at=BEGAN_AT, began_step=0, step=3, total_steps=3) == BEGAN_AT + 7


def test_resumed_attempt_counts_its_own_steps_only() -> None:
    told = finish_time(now=BEGAN_AT + 20, began_at=BEGAN_AT, began_step=90, step=100, total_steps=200)
    assert told == BEGAN_AT + 20 + 200
