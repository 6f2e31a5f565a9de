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


def f1_of(truth: NDArray[np.int64], predicted: NDArray[np.int64], label: int, undefined: float = 0.0) -> float:
    """F1 of one label; ``undefined`` where no text has it and none is said to have it."""
    hits, of = ((truth == label) & (predicted == label)).sum(), (truth == label).sum() + (predicted == label).sum()
    return float(2 * hits / of) if of else undefined


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Mean F1 of the labels that occur or are predicted, each counting alike however rare it is."""
    return float(np.nanmean(f1_by_label(matrix)))


def by_label(matrix: NDArray[np.int64], names: Sequence[str]) -> list[dict[str, float | int | str | None]]:
    """Precision, recall and F1 of each label, and how many texts have it (``support``); None where undefined."""
    hits, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)

    def share(place: int, of: NDArray[np.int64]) -> float | None:
        return float(hits[place] / of[place]) if of[place] else None

    f1 = f1_by_label(matrix)
    return [
        {
            "label": name,
            "precision": share(place, predicted),
            "recall": share(place, true),
            "f1": None if np.isnan(f1[place]) else float(f1[place]),
            "support": int(true[place]),
        }
        for place, name in enumerate(names)
    ]


class Linear(NamedTuple):
    """Probabilities (shape ``[n, labels]``) by TF-IDF with logistic regression, and the strength chosen on
    validation."""

    validation: NDArray[np.float64]
    test: NDArray[np.float64]
    strength: float


def majority(data: LabelledTexts) -> int:
    """The commonest training label (the first of equally common ones)."""
    return int(np.bincount(data.train.labels, minlength=len(data.names)).argmax())


def tfidf_logistic_regression(data: LabelledTexts, weights: NDArray[np.float64] | None = None) -> Linear:
    """Words and pairs of words, sublinear TF-IDF, L2 logistic regression: strong on topics, and seconds to train.

    Args:
        weights: of the labels in the loss (shape ``[labels]``), as the model's own; the strength is then chosen by
            macro-F1 in place of accuracy.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, token_pattern=r"\b\w+\b")
    train = vectorizer.fit_transform(data.train.texts)
    validation, test = vectorizer.transform(data.validation.texts), vectorizer.transform(data.test.texts)
    of_rows = None if weights is None else weights[data.train.labels]
    best: tuple[float, Linear] | None = None
    for strength in _STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=200, tol=1e-3).fit(train, data.train.labels, of_rows)
        held, tested = (
            _all_labels(model.predict_proba(rows), model.classes_, len(data.names)) for rows in (validation, test)
        )
        predicted, truth = held.argmax(axis=1), data.validation.labels
        quality = float((predicted == truth).mean())
        if weights is not None:
            quality = macro_f1(confusion(truth, predicted, len(data.names)))
        if best is None or quality > best[0]:
            best = quality, Linear(held, tested, strength)
    assert best is not None
    return best[1]


def _all_labels(shares: NDArray[np.float64], classes: NDArray[np.int64], labels: int) -> NDArray[np.float64]:
    """A column for every label; those that no training text has get probability 0."""
    found = np.zeros((len(shares), labels))
    found[:, classes] = shares
    return found
