"""Accuracy and macro-F1 with standard errors clustered by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.statistics import clustered_bootstrap_stderr, clustered_stderr


@dataclass(frozen=True)
class Scores:
    """Figures of one classifier on one split of ``n`` texts."""

    accuracy: float
    accuracy_stderr: float | None
    macro_f1: float
    macro_f1_stderr: float | None
    n: int


def score(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], groups: Sequence[str], labels: int, seed: int
) -> Scores:
    """Compare predictions with the truth, both places of labels (shape ``[n]``)."""
    right = (truth == predicted).astype(float)
    return Scores(
        accuracy=float(right.mean()),
        accuracy_stderr=clustered_stderr(right, groups),
        macro_f1=macro_f1(confusion(truth, predicted, labels)),
        macro_f1_stderr=clustered_bootstrap_stderr(
            lambda rows: macro_f1(confusion(truth[rows], predicted[rows], labels)), groups, seed=seed
        ),
        n=len(truth),
    )


def confusion(truth: NDArray[np.int64], predicted: NDArray[np.int64], labels: int) -> NDArray[np.int64]:
    """How often each true label (row) was predicted as each label (column); shape ``[labels, labels]``."""
    return np.bincount(truth * labels + predicted, minlength=labels * labels).reshape(labels, labels)


def f1_by_label(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """F1 of each label, 2 TP / (2 TP + FP + FN); nan for one that neither occurs nor is predicted."""
    hits = np.diag(matrix)
    with np.errstate(invalid="ignore"):
        return 2 * hits / (matrix.sum(axis=0) + matrix.sum(axis=1))


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Mean F1 of the labels that occur or are predicted, each counting alike however rare it is."""
    return float(np.nanmean(f1_by_label(matrix)))
