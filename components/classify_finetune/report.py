"""The report: metrics beside the baselines, the confusion matrix, examples of mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.classify_finetune.decision import Calibration, Threshold
from components.classify_finetune.labels import LabelledTexts
from components.classify_finetune.scores import ClassScores, by_label, confusion
from components.contract import Context
from components.finetuning.report import chosen_by_rule, plot_curve, write_curve
from components.finetuning.training import Curve
from components.statistics import paired_difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MISTAKES = 12


@dataclass(frozen=True)
class ClassifierResult:
    """What the stage found out.

    Attributes:
        predicted: of the test texts, by classifier; the model's own first.
        scores: by split and classifier.
        strength: C of the logistic regression, chosen on validation.
        trained: weights that were trained.
        limit: tokens that texts were cut to.
        at_limit: training texts of that many tokens.
        weights: of the labels in the loss, if they do not all count alike.
        threshold: from which one of two labels is predicted, where that is not one half.
        calibration: of the model on test.
    """

    data: LabelledTexts
    curve: Curve
    predicted: dict[str, NDArray[np.int64]]
    scores: dict[str, dict[str, ClassScores]]
    strength: float
    trained: int
    limit: int
    at_limit: int
    weights: NDArray[np.float64] | None
    threshold: Threshold | None
    calibration: Calibration


def write_report(context: Context, result: ClassifierResult) -> None:
    """Write ``report.json``, the curve and the pictures."""
    data = result.data
    model, *others = result.predicted
    truth, own = data.test.labels, result.predicted[model]
    matrix = confusion(truth, own, len(data.names))
    gains = {
        name: paired_difference(own == truth, result.predicted[name] == truth, data.test.groups) for name in others
    }

    weights = threshold = None
    if result.weights is not None:
        weights = dict(zip(data.names, result.weights.tolist(), strict=True))
    if result.threshold:
        threshold = {"label": data.names[result.threshold.positive], "probability": result.threshold.probability}

    write_curve(result.curve, context.outputs["report"] / "training.csv")
    context.figure("loss", plot_curve(result.curve, {"loss": "training loss", "learning_rate": "rate"}))
    context.figure("confusion", _plot_confusion(matrix, data.names))
    context.figure("reliability", _plot_reliability(result.calibration))
    wrong = np.flatnonzero(own != truth)[:_MISTAKES]
    context.report({
        "labels": data.names,
        "texts": {split: len(getattr(data, split).texts) for split in ("train", "validation", "test")},
        "train": context.parameters.train,
        "trained_weights": result.trained,
        "max_tokens": result.limit,
        "training_texts_at_limit": result.at_limit,
        "logistic_regression_strength": result.strength,
        "scores": {split: {name: asdict(s) for name, s in rows.items()} for split, rows in result.scores.items()},
        "gain_over": {name: gain._asdict() for name, gain in gains.items()},
        "by_label": by_label(matrix, data.names),
        "class_weights": weights,
        "threshold": threshold,
        "calibration": asdict(result.calibration),
        "confusion": matrix.tolist(),
        **chosen_by_rule(context),
        "mistakes": [
            {"text": data.test.texts[i][:300], "label": data.names[truth[i]], "predicted": data.names[own[i]]}
            for i in wrong
        ],
    })  # fmt: skip


def _plot_confusion(matrix: NDArray[np.int64], names: Sequence[str]) -> Figure:
    """True classes down, predicted across; shade and number are shares of the true class."""
    from matplotlib.figure import Figure

    totals = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.maximum(totals, 1)
    size = 2.5 + 0.5 * len(names)
    figure = Figure(figsize=(size + 1.5, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), [f"{name} (n={n})" for name, n in zip(names, totals[:, 0], strict=True)])
    axes.set_xlabel("predicted")
    if len(names) <= 30:  # more numbers than can be read
        for row, column in np.argwhere(matrix):
            share = shares[row, column]
            colour = "white" if share > 0.5 else "#1c2430"
            axes.text(column, row, f"{share:.2f}".lstrip("0"), ha="center", va="center", fontsize=8, color=colour)
    return figure


def _plot_reliability(calibration: Calibration) -> Figure:
    """How often predictions are right over how probable they were said to be; the area of a point is its texts."""
    from matplotlib.figure import Figure

    said, right, texts = (np.array(column) for column in zip(*calibration.bins, strict=True))
    figure = Figure(figsize=(4.2, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#8f9ba8", linewidth=1, linestyle="--")
    axes.plot(said, right, color="#2f5d8a", linewidth=1)
    axes.scatter(said, right, s=12 + 200 * texts / texts.sum(), color="#2f5d8a", alpha=0.8)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("probability of the predicted class")
    axes.set_ylabel("share that is right")
    axes.grid(alpha=0.25)
    return figure
