"""From a classifier's scores to a label: probabilities, how far to trust them, and the threshold of two classes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from components.classify_finetune.labels import LabelledTexts
from components.statistics import clustered_bootstrap_stderr
from core.errors import InputProblem

_BINS = 15
_TEMPERATURES = np.geomspace(0.05, 20, 241)


@dataclass(frozen=True)
class Threshold:
    """With two classes: ``positive`` (a place of a label) is predicted from this probability on."""

    positive: int
    probability: float

    def decide(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """Places of labels (shape ``[n]``) for probabilities of shape ``[n, 2]``."""
        above = probabilities[:, self.positive] >= self.probability
        return np.where(above, self.positive, 1 - self.positive).astype(np.int64)


@dataclass(frozen=True)
class Calibration:
    """How often predictions are right beside how probable they were said to be.

    Attributes:
        error: expected calibration error: mean distance of the two over equally wide bins, weighted by their texts
            (Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3).
        stderr: by resampling groups.
        bins: (mean probability, share that is right, texts) of each bin that is not empty.
        temperature: by which validation scores would have to be divided to be the most likely (section 4.2 there).
        error_at_temperature: the error on test after that division; the model itself stays as it is.
    """

    error: float
    stderr: float | None
    bins: list[tuple[float, float, int]]
    temperature: float
    error_at_temperature: float


def probabilities(scores: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Softmax of each row of ``scores`` (shape ``[n, labels]``)."""
    scaled = np.asarray(scores, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def decide(shares: NDArray[np.float64], threshold: Threshold | None) -> NDArray[np.int64]:
    """Place of the label of each text: the most probable one, or what ``threshold`` says."""
    return threshold.decide(shares) if threshold else shares.argmax(axis=1)


def require_two_labels(wanted: float | Literal["auto"], names: Sequence[str]) -> None:
    """Raise an :class:`InputProblem` where ``classify_finetune.threshold`` asks for what only two labels have."""
    if wanted != 0.5 and len(names) != 2:
        raise InputProblem(
            f"classify_finetune.threshold is {wanted}, which is for two classes, and data/labels has {len(names)}: set "
            "it to 0.5 (the most probable class is predicted)"
        )


def choose_threshold(
    wanted: float | Literal["auto"], shares: NDArray[np.float64], data: LabelledTexts
) -> Threshold | None:
    """The threshold that ``classify_finetune.threshold`` asks for, of the label with fewer training texts; None for
    the most probable label.

    Args:
        shares: probabilities of the validation texts, of shape ``[n, labels]``.
    """
    if wanted == 0.5:
        return None
    if wanted == "auto":
        return best_threshold(shares, data.validation.labels, data.rarer)
    return Threshold(data.rarer, wanted)


def best_threshold(shares: NDArray[np.float64], truth: NDArray[np.int64], positive: int) -> Threshold:
    """The threshold with the highest F1 of ``positive``, of equally good ones the nearest to one half.

    Args:
        shares: probabilities of shape ``[n, 2]``, of texts that were not trained on.
    """
    own = shares[:, positive]
    is_positive = truth == positive
    order = np.argsort(-own, kind="stable")
    values, hits = own[order], np.cumsum(is_positive[order])
    last = np.flatnonzero(np.append(np.diff(values) != 0, True))  # equal probabilities fall on the same side
    f1 = 2 * hits[last] / (last + 1 + max(1, is_positive.sum()))
    # Between the last text that is taken and the first that is not.
    cuts = (values[last] + np.append(values[last[:-1] + 1], 0.0)) / 2
    best = np.flatnonzero(f1 == f1.max())
    place = best[np.argmin(np.abs(cuts[best] - 0.5))]
    return Threshold(positive, float(cuts[place])) if f1[place] > 0 else Threshold(positive, 0.5)


def calibration(
    validation: tuple[NDArray[np.floating], NDArray[np.int64]],
    test: tuple[NDArray[np.floating], NDArray[np.int64]],
    groups: Sequence[Hashable],
    seed: int,
) -> Calibration:
    """Calibration on ``test``, and what one temperature fitted on ``validation`` would make of it.

    Args:
        validation, test: scores of shape ``[n, labels]`` and the places of the true labels (shape ``[n]``).
        groups: clusters of the test texts.
    """
    scores, truth = test
    temperature = min(_TEMPERATURES, key=lambda value: _negative_log_likelihood(*validation, value))
    confidence, right = _confidence(scores, truth)
    bins = []
    for number in range(_BINS):
        inside = _bin(confidence) == number
        if inside.any():
            bins.append((float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum())))
    return Calibration(
        error=_error(confidence, right),
        stderr=clustered_bootstrap_stderr(lambda rows: _error(confidence[rows], right[rows]), groups, seed=seed),
        bins=bins,
        temperature=float(temperature),
        error_at_temperature=_error(*_confidence(scores, truth, temperature)),
    )


def _confidence(
    scores: NDArray[np.floating], truth: NDArray[np.int64], temperature: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    shares = probabilities(scores, temperature)
    return shares.max(axis=1), (shares.argmax(axis=1) == truth).astype(float)


def _bin(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)


def _error(confidence: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    gaps = np.bincount(_bin(confidence), weights=right - confidence, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def _negative_log_likelihood(scores: NDArray[np.floating], truth: NDArray[np.int64], temperature: float) -> float:
    own = probabilities(scores, temperature)[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(own, 1e-300)).mean())
