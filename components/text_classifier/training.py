"""Training a classifier on good and bad examples, and measuring it on texts that it has not seen.

A linear model over hashed word n-grams (:mod:`components.text_classifier.features`), fitted by logistic regression. Of
the distinct texts 15 % are for the metrics alone. The others are divided into five folds: the first chooses the
strength of regularization, and the threshold is chosen by scores of all of them, each by a model that was fitted to the
other folds. Then one is fitted to all five.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import platform
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from components.text_classifier.features import BUCKETS, extract
from components.text_classifier.model import SCALE, TextClassifier
from core.errors import InputProblem

Array = np.ndarray[Any, Any]

FEWEST = 100  # distinct texts of each kind
MOST = 50_000  # texts of each kind that are used: those with the smallest hashes
_STRENGTHS = (1.0, 10.0, 100.0)  # inverse of the regularization
_TEST, _FOLDS = 0.15, 5
_BATCH = 256  # texts whose features are extracted at a time
_POINTS = 20  # of the curve
_EDGE = 1e-6  # a threshold is between 0 and 1


@dataclass(frozen=True)
class Mistake:
    """A text of the test part that the classifier takes for the other kind."""

    good: bool
    score: float
    text: str


@dataclass(frozen=True)
class Trained:
    """A classifier with its metrics in the manifest, and its worst mistakes, which stay out of the file."""

    model: TextClassifier
    mistakes: list[Mistake]

    def save(self, path: Path, about: Mapping[str, Any]) -> None:
        """Write the classifier; the manifest says also what is known ``about`` its examples."""
        versions = {name: importlib.metadata.version(name) for name in ("numpy", "scikit-learn", "scipy")}
        made_by = {"python": platform.python_version(), "unicode": unicodedata.unidata_version, **versions}
        replace(self.model, manifest={**self.model.manifest, **about, "made_by": made_by}).save(path)


def train(good: Sequence[str], bad: Sequence[str], precision: float, seed: int) -> Trained:
    """A classifier that tells the good texts from the bad ones.

    Args:
        precision: wanted share of good texts among those with the threshold or more, in a mix as that of the examples.

    Raises:
        InputProblem: too few distinct examples; the wanted precision is not reached; the classifier is no better than
            chance.
    """
    texts, labels, counts = _examples(good, bad)
    folds = np.array([_fold(text, seed) for text in texts])
    tested, learnt = np.flatnonzero(folds < 0), np.flatnonzero(folds >= 0)
    matrix = _matrix(texts)

    def scores_of(fold: int, strength: float) -> Array:
        rest = learnt[folds[learnt] != fold]
        return _scores(_fit(matrix[rest], labels[rest], strength, seed), texts, np.flatnonzero(folds == fold))

    first = {strength: scores_of(0, strength) for strength in _STRENGTHS}
    strength = min(first, key=lambda each: _log_loss(labels[folds == 0], first[each]))
    unseen = np.zeros(len(texts))
    for fold in range(_FOLDS):
        unseen[folds == fold] = scores_of(fold, strength) if fold else first[strength]
    threshold, reached = _threshold(labels[learnt], unseen[learnt], precision)
    if threshold is None:
        raise InputProblem(
            f"no threshold has a precision of {precision:g} on the {len(learnt)} texts that choose it (the best is "
            f"{reached:.3f}, at a hundredth of the good texts or more): ask for less (--precision), or give more or "
            "clearer examples"
        )
    fitted = _fit(matrix[learnt], labels[learnt], strength, seed)
    scores, truth = _scores(fitted, texts, tested), labels[tested]
    metrics = _metrics(truth, scores, threshold, [len(texts[row]) for row in tested])
    manifest = {
        "examples": {**counts, "train": len(learnt), "test": len(tested)},
        "parameters": {"seed": seed, "precision": precision, "inverse_regularization": strength},
        "metrics": metrics,
        "curve": _curve(truth, scores),
    }
    model = replace(fitted, threshold=threshold, manifest=manifest)
    return Trained(model, _mistakes([texts[row] for row in tested], truth, scores))


def _examples(good: Sequence[str], bad: Sequence[str]) -> tuple[list[str], Array, dict[str, int]]:
    """Each text once, good ones first; those that are good and bad are neither."""
    both = set(good) & set(bad)
    kinds = {"good": [text for text in dict.fromkeys(good) if text not in both],
             "bad": [text for text in dict.fromkeys(bad) if text not in both]}  # fmt: skip
    problems = [
        f"{kind} texts: there are {len(found)} distinct ones, and {FEWEST} are needed: add some"
        + (f" ({len(both)} are among the good and the bad ones)" if both else "")
        for kind, found in kinds.items()
        if len(found) < FEWEST
    ]
    if problems:
        raise InputProblem(problems)
    counts = {**{kind: len(found) for kind, found in kinds.items()}, "in_both": len(both),
              "repeats": len(good) + len(bad) - len(set(good)) - len(set(bad))}  # fmt: skip
    used = {kind: sample(found, MOST) for kind, found in kinds.items()}
    labels = np.array([True] * len(used["good"]) + [False] * len(used["bad"]))
    return used["good"] + used["bad"], labels, counts


def sample(texts: Sequence[str], most: int) -> list[str]:
    """At most so many distinct texts: those with the smallest hashes, whatever the order."""
    return sorted(dict.fromkeys(texts), key=_hash)[:most]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _fold(text: str, seed: int) -> int:
    """0 to 4; -1 for a text of the test part. By content, so that more examples move none from one to another."""
    digest = hashlib.sha256(f"{seed}\n{text}".encode("utf-8", "surrogatepass")).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return -1 if share < _TEST else int((share - _TEST) / (1 - _TEST) * _FOLDS)


def _matrix(texts: Sequence[str]) -> Any:
    """Features over the root of their number, as a sparse matrix ``[texts, buckets]``."""
    from scipy import sparse

    blocks = []
    for begin in range(0, len(texts), _BATCH):
        found = extract(texts[begin : begin + _BATCH])
        number = np.repeat(np.arange(len(found.starts) - 1), np.diff(found.starts))[found.real]
        values = (1 / np.sqrt(np.maximum(found.counts, 1)))[number]
        shape = (len(found.starts) - 1, BUCKETS)
        blocks.append(sparse.csr_matrix((values, (number, found.buckets[found.real])), shape))
    return sparse.vstack(blocks, format="csr")


def _fit(matrix: Any, labels: Array, strength: float, seed: int) -> TextClassifier:
    """Fitted and rounded to whole numbers, as it is going to be used."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    used = np.unique(matrix.indices)  # the weights of the other buckets stay zero
    estimator = LogisticRegression(C=strength, solver="liblinear", class_weight="balanced", random_state=seed)
    with threadpool_limits(1):  # sums in the same order whatever the number of processors
        estimator.fit(matrix[:, used], labels)
    most = np.iinfo(np.int32).max
    weights = np.zeros(BUCKETS, np.int32)
    weights[used] = np.clip(np.round(estimator.coef_[0] * SCALE), -most, most)
    return TextClassifier(weights, float(estimator.intercept_[0]), 0.5, {})


def _scores(model: TextClassifier, texts: Sequence[str], rows: Array) -> Array:
    found: list[float] = []
    for begin in range(0, len(rows), _BATCH):
        found += model.scores([texts[row] for row in rows[begin : begin + _BATCH]])
    return np.array(found)


def _log_loss(labels: Array, scores: Array) -> float:
    right = np.where(labels, scores, 1 - scores)
    return float(-np.log(np.maximum(right, 1e-9)).mean())


def _threshold(labels: Array, scores: Array, precision: float) -> tuple[float | None, float]:
    """The lowest score from which the wanted share of texts is good; and the best share that any threshold reaches."""
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(labels[order])
    shares = found / np.arange(1, len(order) + 1)
    ends = np.append(scores[order][1:] != scores[order][:-1], True)  # equal scores stay together
    useful = ends & (found >= max(1, labels.sum() // 100))
    best = float(shares[useful].max(initial=0.0))
    reaching = np.flatnonzero(useful & (shares >= precision))
    if not len(reaching):
        return None, best
    return float(np.clip(scores[order][reaching[-1]], _EDGE, 1 - _EDGE)), best


def _metrics(labels: Array, scores: Array, threshold: float, lengths: Sequence[int]) -> dict[str, Any]:
    """On the test part. The baselines: taking every text, and going by length alone."""
    from sklearn.metrics import average_precision_score

    kept, good = scores >= threshold, int(labels.sum())
    right = int((kept & labels).sum())
    by_length = max(average_precision_score(labels, sign * np.array(lengths)) for sign in (1, -1))
    share = good / len(labels)
    found = float(average_precision_score(labels, scores))
    if found <= share:
        raise InputProblem(
            f"on {len(labels)} texts that it has not seen the classifier is no better than chance (average precision "
            f"{found:.3f}, {share:.3f} of the texts are good): good and bad examples do not differ by their words"
        )
    return {
        "n": len(labels),
        "good": good,
        "average_precision": found,
        "precision": right / int(kept.sum()) if kept.any() else None,
        "precision_interval": _interval(right, int(kept.sum())),
        "recall": right / good,
        "recall_interval": _interval(right, good),
        "kept": float(kept.mean()),
        "baselines": {"share_of_good": share, "average_precision_by_length": float(by_length)},
    }


def _interval(successes: int, n: int) -> list[float]:
    """Wilson's interval of 95 % (1927)."""
    if not n:
        return [0.0, 1.0]
    z, share = 1.959964, successes / n
    middle, width = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [max(0.0, (middle - width) / (1 + z * z / n)), min(1.0, (middle + width) / (1 + z * z / n))]


def _curve(labels: Array, scores: Array) -> list[dict[str, float]]:
    """Precision and recall at the thresholds that keep 5 %, 10 % ... of the texts."""
    points = []
    for point in range(1, _POINTS + 1):
        threshold = float(np.quantile(scores, 1 - point / _POINTS, method="higher"))
        kept = scores >= threshold
        right = int((kept & labels).sum())
        points.append({"threshold": threshold, "kept": float(kept.mean()), "precision": right / int(kept.sum()),
                       "recall": right / int(labels.sum())})  # fmt: skip
    return points


def _mistakes(texts: Sequence[str], labels: Array, scores: Array, most: int = 3) -> list[Mistake]:
    """The good texts with the lowest scores, and the bad ones with the highest."""
    order = np.argsort(scores, kind="stable")
    low = [row for row in order if labels[row] and scores[row] < 0.5][:most]
    high = [row for row in order[::-1] if not labels[row] and scores[row] >= 0.5][:most]
    return [Mistake(bool(labels[row]), float(scores[row]), texts[row]) for row in (*low, *high)]
