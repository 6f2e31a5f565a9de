"""The win rate at equal lengths: what a judge that likes long answers would say if both had the same length.

A logistic regression explains who wins by the difference of lengths, and the win rate is read off where that difference
is zero (Dubois et al., "Length-Controlled AlpacaEval: A Simple Way to Debias Automatic Evaluators", 2024, section 3).
Of their three terms two remain: the models' and the lengths'. The third, how hard a question is, AlpacaEval fits on the
answers of many models, and there are two here.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from components.statistics import Estimate, clustered_bootstrap_stderr

_MOST_STEPS, _CLOSE = 50, 1e-9


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
    """``sigmoid(a)`` of the fit ``logit(win) = a + b * longer``, with the penalty ``b ** 2 / 2`` on the lengths' part.

    By Newton's method: it is run for every resampling, and scikit-learn's solver takes a hundred times as long.
    """
    share = float(wins.mean())
    if share in (0.0, 1.0):
        return share  # no finite fit: the intercept grows without end
    columns = np.stack([np.ones_like(longer), longer])
    penalty = np.diag([0.0, 1.0])
    fitted = np.array([math.log(share / (1 - share)), 0.0])
    for _ in range(_MOST_STEPS):
        expected = 1 / (1 + np.exp(-fitted @ columns))
        slope = columns @ (wins - expected) - penalty @ fitted
        step = np.linalg.solve((columns * (expected * (1 - expected))) @ columns.T + penalty, slope)
        fitted += step
        if np.abs(step).max() < _CLOSE:
            break
    return 1 / (1 + math.exp(-float(fitted[0])))
