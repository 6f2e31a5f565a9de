"""Two models on the same items: the paired difference of a metric, whether it is more than chance, and what flipped.

Both models fail on much the same questions, so their difference on shared items is known far better than either value
(Miller, "Adding Error Bars to Evals", 2024, section 4.2). Items of one group rise and fall together: the standard error
is clustered, and the interval resamples whole groups (the paired bootstrap: Koehn, "Statistical Significance Tests for
Machine Translation Evaluation", 2004; Efron and Tibshirani 1993, chapter 16). Where the items are independent and right
or wrong, the test is McNemar's exact one (McNemar 1947), on those that flipped.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.evaluate.items import Item
from components.statistics import clustered_stderr

SIGNIFICANT = 0.05  # p-value below which a difference is called one
_RESAMPLES, _AT_ONCE = 10_000, 500
_SEED = 0
MCNEMAR, BOOTSTRAP = "McNemar's exact test", "paired bootstrap"


@dataclass(frozen=True)
class PairedMetric:
    """A metric of models A and B on the items that both were asked.

    Attributes:
        n: items that both have; ``only_a``, ``only_b``: items that the other lacks, which do not count.
        groups: clusters among the ``n``.
        a, b: values on the shared items.
        difference: ``b - a``; ``stderr`` clustered, ``low`` and ``high`` of its 95 % interval; in the metric's unit.
        p_value: of no difference; ``None`` where there are fewer than two groups.
        wins, ties, losses: items on which B is better than, equal to and worse than A; higher counts as better where
            the metric has no direction.
        flips: the items that differ, the largest difference first.
    """

    task: str
    metric: str
    higher_is_better: bool | None
    n: int
    only_a: int
    only_b: int
    groups: int
    a: float
    b: float
    difference: float
    stderr: float | None
    low: float | None
    high: float | None
    p_value: float | None
    test: str | None
    wins: int
    ties: int
    losses: int
    flips: tuple[tuple[Item, Item], ...]

    @property
    def win_rate(self) -> float:
        """Share of the shared items on which B is better, a tie counting half."""
        return (self.wins + self.ties / 2) / self.n

    @property
    def is_significant(self) -> bool:
        return self.p_value is not None and self.p_value < SIGNIFICANT

    def in_words(self, a: str, b: str) -> str:
        """What the difference means; ``a`` and ``b`` name the models."""
        if not self.flips:
            return f"{a} and {b} got the same on every item"
        if self.p_value is None:
            return "one group of items cannot say whether the difference is chance"
        p = f"p = {self.p_value:.2g}, {self.test}" if self.p_value >= 0.001 else f"p < 0.001, {self.test}"
        if not self.is_significant:
            return f"no difference that {self.n} items in {self.groups} groups can show ({p})"
        if self.higher_is_better is None:
            return f"{b} is {'higher' if self.difference > 0 else 'lower'} than {a} ({p})"
        return f"{b} is {'better' if (self.difference > 0) == self.higher_is_better else 'worse'} than {a} ({p})"


def compare(a: Iterable[Item], b: Iterable[Item], directions: Mapping[str, bool | None]) -> list[PairedMetric]:
    """Every metric that both models have on some item, in the order of B's items.

    Args:
        directions: of the metrics, by name: whether higher is better.
    """
    of_a, of_b = _by_metric(a), _by_metric(b)
    found = (paired(of_a[key], rows, directions.get(key[1])) for key, rows in of_b.items() if key in of_a)
    return [each for each in found if each is not None]


def paired(a: Sequence[Item], b: Sequence[Item], higher_is_better: bool | None) -> PairedMetric | None:
    """One metric; ``a`` and ``b`` are its rows. ``None`` where they share no item."""
    other = {(row.task, row.item): row for row in a}
    pairs = [(other[row.task, row.item], row) for row in b if (row.task, row.item) in other]
    if not pairs:
        return None
    score_a, score_b = (np.array([pair[side].score for pair in pairs]) for side in (0, 1))
    weight_a, weight_b = (np.array([pair[side].weight for pair in pairs]) for side in (0, 1))
    groups = [pair[0].group for pair in pairs]
    value_a, value_b = float(np.average(score_a, weights=weight_a)), float(np.average(score_b, weights=weight_b))
    # What each item adds to the difference of the two ratios (delta method); a mean's is its own difference.
    share = weight_b * (score_b - value_b) / weight_b.mean() - weight_a * (score_a - value_a) / weight_a.mean()
    better = (score_b - score_a) * (-1 if higher_is_better is False else 1)
    wins, losses = int((better > 0).sum()), int((better < 0).sum())
    difference = value_b - value_a
    low = high = p_value = test = None
    if len(set(groups)) > 1:
        sums = np.stack([weight_a * score_a, weight_a, weight_b * score_b, weight_b], axis=1)
        drawn = _resampled(sums, groups)
        low, high = (float(bound) for bound in np.quantile(drawn, (0.025, 0.975)))
        test, p_value = BOOTSTRAP, _chance(drawn, difference)
        if len(set(groups)) == len(pairs) and _is_right_or_wrong(score_a, score_b, weight_a, weight_b):
            test, p_value = MCNEMAR, _mcnemar(wins, losses)
    flips = sorted(
        (pair for pair, gain in zip(pairs, better, strict=True) if gain),
        key=lambda pair: (-abs(pair[1].score - pair[0].score), pair[1].task, pair[1].item),
    )
    return PairedMetric(
        task=pairs[0][1].task,
        metric=pairs[0][1].metric,
        higher_is_better=higher_is_better,
        n=len(pairs),
        only_a=len(other) - len(pairs),
        only_b=len(b) - len(pairs),
        groups=len(set(groups)),
        a=value_a,
        b=value_b,
        difference=difference,
        stderr=clustered_stderr(share, groups),
        low=low,
        high=high,
        p_value=p_value,
        test=test,
        wins=wins,
        ties=len(pairs) - wins - losses,
        losses=losses,
        flips=tuple(flips),
    )


def _by_metric(items: Iterable[Item]) -> dict[tuple[str, str], list[Item]]:
    found = defaultdict(list)
    for item in items:
        found[item.task, item.metric].append(item)
    return found


def _is_right_or_wrong(*columns: NDArray[np.float64]) -> bool:
    """Scores of nothing but 0 and 1, and weights of 1."""
    *scores, weight_a, weight_b = columns
    return all(np.isin(column, (0, 1)).all() for column in scores) and bool(
        (weight_a == 1).all() & (weight_b == 1).all()
    )


def _mcnemar(wins: int, losses: int) -> float:
    """Probability that as many flips fall as unevenly by a fair coin."""
    flips = wins + losses
    tail = sum(math.comb(flips, k) for k in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / 2**flips)


def _resampled(sums: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float64]:
    """The difference of the ratios in samples of whole groups, drawn with replacement."""
    _, index = np.unique(groups, return_inverse=True)
    count = int(index.max()) + 1
    of_groups = np.stack([np.bincount(index, weights=column, minlength=count) for column in sums.T], axis=1)
    random = np.random.default_rng(_SEED)
    drawn = []
    for _ in range(_RESAMPLES // _AT_ONCE):
        times = random.multinomial(count, np.full(count, 1 / count), size=_AT_ONCE)
        top_a, bottom_a, top_b, bottom_b = (times @ of_groups).T
        drawn.append(top_b / bottom_b - top_a / bottom_a)
    return np.concatenate(drawn)


def _chance(drawn: NDArray[np.float64], difference: float) -> float:
    """Share of the samples that lie as far from the difference as the difference lies from zero."""
    as_far = np.abs(drawn - difference) >= abs(difference) - 1e-12
    return float((1 + as_far.sum()) / (1 + len(drawn)))
