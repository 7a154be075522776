"""What `auto` resolves to, as pure functions of the number of examples and the size of the model."""

import math

EPOCHS_TARGET = 3
EXAMPLES_SEEN_MIN = 100
EXAMPLES_SEEN_MAX = 25_000
EPOCHS_MAX = 25
BATCH_MIN = 4
BATCH_MAX = 256
BATCH_SHARE = 0.002

LORA_RATE_AT_REFERENCE = 2e-4
REFERENCE_PARAMETERS = 8e9
RATE_EXPONENT = 0.42


def n_epochs(n_examples: int) -> int:
    """Three, more for small files and fewer for huge ones: the rule of OpenAI's cookbook."""
    if EPOCHS_TARGET * n_examples < EXAMPLES_SEEN_MIN:
        return min(EPOCHS_MAX, EXAMPLES_SEEN_MIN // n_examples)
    if EPOCHS_TARGET * n_examples > EXAMPLES_SEEN_MAX:
        return max(1, EXAMPLES_SEEN_MAX // n_examples)
    return EPOCHS_TARGET


def batch_size(n_examples: int) -> int:
    """0.2 % of the examples, as OpenAI documents, but at least 4: smaller batches waste a CPU."""
    return max(BATCH_MIN, min(BATCH_MAX, round(BATCH_SHARE * n_examples)))


def learning_rate_multiplier() -> float:
    return 1.0


def total_steps(*, n_examples: int, epochs: int, batch: int) -> int:
    return epochs * math.ceil(n_examples / batch)


def learning_rate(*, parameters: int, multiplier: float) -> float:
    """The peak rate of a LoRA run, which `learning_rate_multiplier` scales.

    multiplier * 2e-4 * (8e9 / parameters) ** 0.42, within [5e-5, 5e-3]: the customary rate of an 8B model, rising for
    smaller ones with the exponent that meets the rate found best by measurement on the starter model.
    """
    base = LORA_RATE_AT_REFERENCE * (REFERENCE_PARAMETERS / parameters) ** RATE_EXPONENT
    return multiplier * min(5e-3, max(5e-5, base))
