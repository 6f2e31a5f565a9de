"""The learning rate over the training."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["cosine", "wsd", "constant"]


def factor(
    step: int, steps: int, *, schedule: Schedule = "cosine", warmup: float, final_share: float, decay: float = 0.2
) -> float:
    """Share of the peak rate at ``step`` (from 0): a linear rise, then what the schedule says.

    ``cosine`` falls to ``final_share`` at the last step (Loshchilov and Hutter 2017). ``wsd`` stays and falls linearly
    to ``final_share`` within the last part (warm-up, stable, decay: Hu et al. 2024). ``constant`` stays.

    Args:
        warmup: share of ``steps`` taken by the rise.
        final_share: share of the peak at the last step.
        decay: share of ``steps`` taken by the fall of ``wsd``.
    """
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    if schedule == "constant":
        return 1.0
    if schedule == "wsd":
        fall = max(1, min(round(decay * steps), steps - 1 - rise))
        return 1 - (1 - final_share) * max(0, step - (steps - 1 - fall)) / fall
    progress = min(1.0, (step - rise) / max(1, steps - 1 - rise))
    return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress))
