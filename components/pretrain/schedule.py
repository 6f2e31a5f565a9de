"""The learning rate over the training."""

from __future__ import annotations

import math


def factor(step: int, steps: int, *, warmup: float, final_share: float) -> float:
    """Share of the peak rate at ``step`` (from 0): a linear rise, then a cosine to ``final_share`` at the last step.

    Args:
        warmup: share of ``steps`` taken by the rise.
        final_share: share of the peak at the last step.
    """
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    progress = min(1.0, (step - rise) / max(1, steps - 1 - rise))
    return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * progress))
