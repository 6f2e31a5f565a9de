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
    page.heading("Test")
    page.table(_SCORES, [_row(name, scores) for name, scores in report["scores"]["test"].items()])
    gains = "; ".join(_gain(name, gain) for name, gain in report["gain_over"].items())
    page.text(f"Paired difference in accuracy on the same texts: {gains}.")
    page.figure(folder / "confusion.png", "confusion of the classes on the test split")
    page.table(
        ("class", "test texts", "F1", "mostly taken for"),
        [
            (name, sum(row), report["f1"][name], _most_taken_for(row, place, names))
            for place, (name, row) in enumerate(zip(names, matrix, strict=True))
        ],
    )
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


def _row(name: str, scores: dict[str, Any]) -> tuple[Any, ...]:
    return (name, *(scores[key] for key in ("accuracy", "accuracy_stderr", "macro_f1", "macro_f1_stderr", "n")))


def _gain(name: str, gain: dict[str, Any]) -> str:
    error = "" if gain["stderr"] is None else f" ± {gain['stderr']:.3f}"
    return f"{gain['value']:+.3f}{error} to {name}"


def _most_taken_for(row: list[int], place: int, names: list[str]) -> str | None:
    """The other class that texts of this one were most often given, and how many."""
    others = [0 if index == place else count for index, count in enumerate(row)]
    return f"{names[others.index(max(others))]} ({max(others)})" if any(others) else None
