"""What to ask people: pairs of answers in the order in which a person's word adds most.

Two judges of answers are there already, a reward model and a language model. Where they disagree, at least one of them
is wrong, and a person says which: query by committee (Seung, Opper and Sompolinsky 1992), with the committee's spread
of opinion as the measure. What is asked for that reason is no sample of anything, so a share of the pairs is drawn at
random before any opinion is looked at; these stand for all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RANDOM_EVERY = 4  # each fourth pair is one of the random share


@dataclass(frozen=True)
class Opinions:
    """What is thought of a pair, of its first answer.

    Attributes:
        reward: probability that it is the better one by the reward model.
        judge: 1 where the judge prefers it, 0 the other, 0.5 neither; ``None`` where it gave no verdict.
    """

    reward: float
    judge: float | None

    @property
    def disagreement(self) -> float | None:
        """From 0 to 1."""
        return None if self.judge is None else abs(self.reward - self.judge)


def preference(first: float, second: float) -> float:
    """Probability that the first answer is preferred, of both answers' rewards (Bradley and Terry 1952).

    It is what the reward model was trained to give.
    """
    return 1 / (1 + math.exp(-max(-500.0, min(500.0, first - second))))


def order(opinions: Sequence[Opinions], seed: int) -> list[tuple[int, bool]]:
    """(place, whether it was drawn at random) of each pair, in the order in which people are asked.

    Every fourth is of the random share; the others go by their disagreement, the greatest first, and those without a
    verdict of the judge last.
    """
    drawn = np.random.default_rng(seed).permutation(len(opinions)).tolist()
    share = len(opinions) // RANDOM_EVERY
    by_chance, others = drawn[:share], sorted(drawn[share:])
    others.sort(key=lambda place: -(-1.0 if (found := opinions[place].disagreement) is None else found))
    found: list[tuple[int, bool]] = []
    while by_chance or others:
        at_random = bool(by_chance) and (not others or len(found) % RANDOM_EVERY == RANDOM_EVERY - 1)
        found.append(((by_chance if at_random else others).pop(0), at_random))
    return found
