"""The win rate at equal lengths: what a judge that likes long answers would say if both had the same length.

A logistic regression explains who wins by the difference of lengths, and the win rate is read off where that difference
is zero (Dubois et al., "Length-Controlled AlpacaEval: A Simple Way to Debias Automatic Evaluators", 2024, section 3).
Of their three terms two remain: the models' and the lengths'. The third, how hard a question is, is fitted by AlpacaEval
on the answers of many models, and there are two here.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.statistics import Estimate, clustered_bootstrap_stderr


def length_controlled(
    wins: ArrayLike, lengths: ArrayLike, others: ArrayLike, clusters: Sequence[Hashable], *, seed: int
) -> Estimate:
    """The length-controlled win rate, its standard error by resampling clusters.

    Args:
        wins: of each pair, 1 where the answer was preferred, 0 where the other was, 0.5 for a tie; shape ``[n]``.
        lengths, others: characters of the answer and of the one it was compared with; shape ``[n]``.
        clusters: cluster of each pair.
        seed: of the resampling.
    """
    wins = np.asarray(wins, float)
    difference = np.asarray(lengths, float) - np.asarray(others, float)
    spread = difference.std()
    longer = np.tanh(difference / spread) if spread > 0 else np.zeros_like(difference)

    def rate(rows: NDArray[np.intp]) -> float:
        return _at_equal_length(wins[rows], longer[rows])

    everything = np.arange(len(wins))
    return Estimate(rate(everything), clustered_bootstrap_stderr(rate, clusters, seed=seed), len(wins))


def _at_equal_length(wins: NDArray[np.float64], longer: NDArray[np.float64]) -> float:
    share = float(wins.mean())
    if share in (0.0, 1.0) or not longer.any():
        return share  # nothing to explain, or nothing to explain it by
    from sklearn.linear_model import LogisticRegression

    # A tie is half a win and half a loss. The penalty (lambda 1) is on the lengths' coefficient alone.
    rows = np.concatenate([longer, longer])[:, None]
    outcome = np.repeat([1, 0], len(wins))
    weights = np.concatenate([wins, 1 - wins])
    model = LogisticRegression(C=1.0).fit(rows, outcome, sample_weight=weights)
    return 1 / (1 + math.exp(-float(model.intercept_[0])))
