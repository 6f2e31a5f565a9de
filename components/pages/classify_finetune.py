"""The page of classify_finetune: the classifier beside its baselines, the confusion matrix, mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.pages.page import Page, read_report

_SCORES = ("", "accuracy", "±", "macro-F1", "±", "n")


def render(folder: Path) -> Page:
    """The page of the report in ``folder``."""
    report = read_report(folder)
    names, texts, matrix = report["labels"], report["texts"], report["confusion"]
    page = Page(
        "Classifier",
        "The base model with a class head. ± is one standard error, with texts of one group (module) as one cluster.",
    )
    page.text(
        f"{texts['train']:,} training, {texts['validation']:,} validation and {texts['test']:,} test texts of "
        f"{len(names)} classes; no group has texts in two splits. Trained: {report['train']} "
        f"({report['trained_weights']:,} weights). Texts are cut to {report['max_tokens']} tokens "
        f"({report['training_texts_at_limit']:,} training texts reach that). The linear model is sublinear TF-IDF of "
        f"words and pairs of words with logistic regression, C = {report['logistic_regression_strength']:g} chosen on "
        f"validation; it sees whole texts."
    )
    _imbalance(page, report)
    page.heading("Test")
    page.table(_SCORES, [_row(name, scores) for name, scores in report["scores"]["test"].items()])
    gains = "; ".join(_gain(name, gain) for name, gain in report["gain_over"].items())
    page.text(f"Paired difference in accuracy on the same texts: {gains}.")
    page.figure(folder / "confusion.png", "confusion of the classes on the test split")
    page.table(
        ("class", "test texts", "precision", "recall", "F1", "mostly taken for"),
        [
            (row["label"], row["support"], row["precision"], row["recall"], row["f1"],
             _most_taken_for(matrix[place], place, names))
            for place, row in enumerate(report.get("by_label", ()))  # reports of earlier versions have none
        ],
    )  # fmt: skip
    if "calibration" in report:
        _calibration(page, folder, report["calibration"])
    page.heading("Validation")
    page.text("What choices were made on.")
    page.table(_SCORES, [_row(name, scores) for name, scores in report["scores"]["validation"].items()])
    page.heading("Training")
    page.figure(folder / "loss.png", "training loss")
    if report["mistakes"]:
        page.heading("Mistakes")
        page.table(
            ("text", "class", "predicted"),
            [(mistake["text"], mistake["label"], mistake["predicted"]) for mistake in report["mistakes"]],
        )
    return page


def _imbalance(page: Page, report: dict[str, Any]) -> None:
    if report.get("class_weights"):
        page.heading("Weights of the classes in the loss")
        page.text("The linear model is trained with the same weights.")
        page.table(("class", "weight"), list(report["class_weights"].items()))
    if threshold := report.get("threshold"):
        page.text(
            f"{threshold['label']} is predicted from a probability of {threshold['probability']:.3f} on. The linear "
            f"model's threshold was chosen in the same way."
        )


def _calibration(page: Page, folder: Path, calibration: dict[str, Any]) -> None:
    error = "" if calibration["stderr"] is None else f" ± {calibration['stderr']:.3f}"
    page.heading("Calibration")
    page.text(
        f"Expected calibration error {calibration['error']:.3f}{error}: the mean distance between how probable the "
        f"predicted class was said to be and how often it was right, over bins of equal width. Scores divided by "
        f"{calibration['temperature']:.2f}, a temperature fitted on validation, would have "
        f"{calibration['error_at_temperature']:.3f}; the saved model is not divided."
    )
    page.figure(folder / "reliability.png", "share of right predictions over their probability")


def _row(name: str, scores: dict[str, Any]) -> tuple[Any, ...]:
    return (name, *(scores[key] for key in ("accuracy", "accuracy_stderr", "macro_f1", "macro_f1_stderr", "n")))


def _gain(name: str, gain: dict[str, Any]) -> str:
    error = "" if gain["stderr"] is None else f" ± {gain['stderr']:.3f}"
    return f"{gain['value']:+.3f}{error} to {name}"


def _most_taken_for(row: list[int], place: int, names: list[str]) -> str | None:
    """The other class that texts of this one were most often given, and how many."""
    others = [0 if index == place else count for index, count in enumerate(row)]
    return f"{names[others.index(max(others))]} ({max(others)})" if any(others) else None
