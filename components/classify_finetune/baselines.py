"""What is reached without the decoder: the commonest label, and word counts with a linear model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.classify_finetune.labels import LabelledTexts

# Inverse strength of the regularisation; the best on validation is taken.
_STRENGTHS = (1.0, 10.0, 100.0)


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
