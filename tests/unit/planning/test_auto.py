"""What `auto` becomes: the table of the API reference, written out."""

import pytest

from tunery.planning import auto


@pytest.mark.parametrize(
    ("n_examples", "expected"),
    [
        (1, 25), (4, 25), (5, 20), (10, 10), (24, 4), (33, 3), (34, 3), (100, 3),
        (8_333, 3), (8_334, 2), (12_500, 2), (12_501, 1), (25_000, 1), (1_000_000, 1),
    ],
)  # fmt: skip
def test_epochs_follow_the_cookbook(n_examples: int, expected: int) -> None:
    """3; min(25, 100 // N) where 3N < 100; max(1, 25000 // N) where 3N > 25000. 10 and 100 examples were recorded."""
    assert auto.n_epochs(n_examples) == expected


@pytest.mark.parametrize(
    ("n_examples", "expected"), [(1, 4), (24, 4), (2_000, 4), (2_500, 5), (50_000, 100), (128_000, 256), (10**7, 256)]
)
def test_batch_is_a_fifth_of_a_percent_within_limits(n_examples: int, expected: int) -> None:
    assert auto.batch_size(n_examples) == expected


def test_last_batch_of_an_epoch_may_be_smaller() -> None:
    assert auto.total_steps(n_examples=24, epochs=4, batch=4) == 24
    assert auto.total_steps(n_examples=25, epochs=4, batch=4) == 28
    assert auto.total_steps(n_examples=3, epochs=1, batch=4) == 1


@pytest.mark.parametrize("parameters", [10**6, 4 * 10**6, 10**8, 8 * 10**9, 7 * 10**11])
def test_rate_falls_with_size_and_is_scaled_by_the_multiplier(parameters: int) -> None:
    rate = auto.learning_rate(parameters=parameters, multiplier=1.0)
    assert 5e-5 <= rate <= 5e-3
    assert auto.learning_rate(parameters=10 * parameters, multiplier=1.0) <= rate
    assert auto.learning_rate(parameters=parameters, multiplier=0.5) == pytest.approx(rate / 2)


def test_rate_of_the_reference_size() -> None:
    assert auto.learning_rate(parameters=8 * 10**9, multiplier=1.0) == pytest.approx(2e-4)
