"""Where a training stands and what it has seen: part of every checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Progress:
    """What the loop has seen so far; part of every checkpoint, and all of it repeatable.

    Attributes:
        step: optimizer steps done; with the seed it fixes the position in the data.
        curve: points of the training curve.
        validation: validation losses within the training.
        samples: what the model wrote at each validation.
        loss_sum: sum of losses since the last point of the curve.
    """

    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)
    samples: list[dict[str, str | int]] = field(default_factory=list)
    loss_sum: float = 0.0
