"""Accuracy and macro-F1 with standard errors clustered by group, and classifiers to compare with: the commonest label,
and word counts with a linear model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.classify_finetune.labels import LabelledTexts
from components.statistics import clustered_bootstrap_stderr, clustered_stderr

# Inverse strength of the regularisation; the best on validation is taken.
_STRENGTHS = (1.0, 10.0, 100.0)


@dataclass(frozen=True)
class ClassScores:
    """Metrics of one classifier on one split of ``n`` texts."""

    accuracy: float
    accuracy_stderr: float | None
    macro_f1: float
    macro_f1_stderr: float | None
    n: int


def score(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], groups: Sequence[str], labels: int, seed: int
) -> ClassScores:
    """Compare predictions with the truth, both places of labels (shape ``[n]``)."""
    right = (truth == predicted).astype(float)
    return ClassScores(
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
        return np.asarray(2 * hits / (matrix.sum(axis=0) + matrix.sum(axis=1)))


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Mean F1 of the labels that occur or are predicted, each counting alike however rare it is."""
    return float(np.nanmean(f1_by_label(matrix)))


class Linear(NamedTuple):
    """Predictions of TF-IDF with logistic regression, and the strength chosen on validation."""

    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    strength: float


def majority(data: LabelledTexts) -> int:
    """The commonest training label (the first of equally common ones)."""
    return int(np.bincount(data.train.labels, minlength=len(data.names)).argmax())


def tfidf_logistic_regression(data: LabelledTexts) -> Linear:
    """Words and pairs of words, sublinear TF-IDF, L2 logistic regression: strong on topics, and seconds to train."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, token_pattern=r"\b\w+\b")
    train = vectorizer.fit_transform(data.train.texts)
    validation, test = vectorizer.transform(data.validation.texts), vectorizer.transform(data.test.texts)
    best: tuple[float, Linear] | None = None
    for strength in _STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(train, data.train.labels)
        predicted = model.predict(validation)
        accuracy = float((predicted == data.validation.labels).mean())
        if best is None or accuracy > best[0]:
            best = accuracy, Linear(predicted, model.predict(test), strength)
    assert best is not None
    return best[1]
