"""Standard errors of metrics.

Questions about one function, or documents of one module, rise and fall together; an error bar that takes them for
independent is too small. The clustered forms follow Liang and Zeger, "Longitudinal data analysis using generalized
linear models" (Biometrika 73, 1986), in the shape Miller gives them for language models, "Adding Error Bars to Evals"
(arXiv:2411.00640, 2024, section 2.2), with the usual small-sample factor G / (G - 1) for G clusters. With every cluster
a single observation they are the textbook standard error of a mean.

Every function returns ``None`` where the error is undefined: fewer than two observations, or fewer than two clusters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Estimate:
    """A mean over ``n`` observations and its standard error, in the unit of the mean; None with fewer than two
    clusters."""

    value: float
    stderr: float | None
    n: int


class Difference(NamedTuple):
    """Mean of ``a - b`` over the same observations, and its standard error, both in the unit of ``a``."""

    value: float
    stderr: float | None


def estimate(values: ArrayLike, clusters: Sequence[Hashable]) -> Estimate:
    """The mean of ``values`` (shape ``[n]``) with its clustered standard error."""
    values = np.asarray(values, float)
    return Estimate(float(values.mean()), clustered_stderr(values, clusters), len(values))


def clustered_stderr(values: ArrayLike, clusters: Sequence[Hashable]) -> float | None:
    """Standard error of the mean of ``values`` (shape ``[n]``) when observations of one cluster are correlated.

    Raises:
        ValueError: ``values`` and ``clusters`` differ in length.
    """
    return ratio_stderr(values, np.ones(np.shape(values)), clusters)


def ratio_stderr(numerators: ArrayLike, denominators: ArrayLike, clusters: Sequence[Hashable]) -> float | None:
    """Clustered standard error of ``sum(numerators) / sum(denominators)``, such as bits over bytes of documents.

    The ratio is linearised (delta method; Cochran, "Sampling Techniques", 3rd ed., section 6.4), so it holds for many
    clusters, not for a handful.

    Raises:
        ValueError: the arrays differ in length, or the denominators do not sum to something positive.
    """
    numerators, denominators = np.asarray(numerators, float), np.asarray(denominators, float)
    if not numerators.shape == denominators.shape == (len(clusters),):
        raise ValueError(
            f"numerators {numerators.shape}, denominators {denominators.shape}, {len(clusters)} clusters do not match"
        )
    index, count = _cluster_index(clusters)
    if count < 2:
        return None
    total = denominators.sum()
    if total <= 0:
        raise ValueError(f"the denominators sum to {total}, not to something positive")
    residuals = numerators - numerators.sum() / total * denominators
    by_cluster = np.bincount(index, weights=residuals, minlength=count)
    return float(math.sqrt(count / (count - 1) * np.square(by_cluster).sum()) / total)


def paired_difference(a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable]) -> Difference:
    """How much better ``a`` does than ``b`` on the same observations (both of shape ``[n]``).

    Two systems fail on much the same questions, so the paired error is far smaller than that of two separate samples
    (Miller 2024, section 4.2).

    Raises:
        ValueError: the arrays differ in length or are empty.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"paired observations need equal shapes with something in them, not {a.shape} and {b.shape}")
    return Difference(float((a - b).mean()), clustered_stderr(a - b, clusters))


def clustered_bootstrap_stderr(
    statistic: Callable[[NDArray[np.intp]], float], clusters: Sequence[Hashable], *, seed: int, repetitions: int = 200
) -> float | None:
    """Standard error of any statistic by resampling whole clusters (Efron and Tibshirani 1993, chapter 6).

    For metrics that are neither a mean nor a ratio, such as macro-F1.

    Args:
        statistic: takes indices of observations, repeats among them, and returns the metric of that sample.
        clusters: cluster of each observation.
        seed: of the resampling; the same seed gives the same error.
        repetitions: number of samples; 200 gives the error to about 5 %.
    """
    index, count = _cluster_index(clusters)
    if count < 2:
        return None
    order = np.argsort(index, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(index, minlength=count))[:-1])
    random = np.random.default_rng(seed)
    draws = [
        statistic(np.concatenate([members[cluster] for cluster in random.integers(count, size=count)]))
        for _ in range(repetitions)
    ]
    return float(np.std(draws, ddof=1))


def _cluster_index(clusters: Sequence[Hashable]) -> tuple[NDArray[np.intp], int]:
    numbers: dict[Hashable, int] = {}
    index = np.fromiter((numbers.setdefault(c, len(numbers)) for c in clusters), dtype=np.intp, count=len(clusters))
    return index, len(numbers)
