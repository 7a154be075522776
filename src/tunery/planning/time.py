"""How long a run still takes, from the pace it has shown."""


def finish_time(*, now: float, began_at: float, began_step: int, step: int, total_steps: int) -> int:
    """When the run will end, in Unix seconds, if the steps to come take what those of this attempt took on average.

    Validation, checkpoints and snapshots fall into the average as they come; `began_step` is where the attempt
    resumed, so what was trained before a pause or crash does not count.
    """
    per_step = (now - began_at) / (step - began_step)
    return round(now + per_step * (total_steps - step))
