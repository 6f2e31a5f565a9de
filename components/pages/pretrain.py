"""The page of pretrain: the loss beside its baseline, the curves, samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.pages.page import Page, read_report


def render(folder: Path) -> Page:
    """The page of the report in ``folder``."""
    report = read_report(folder)
    if report.get("unchanged"):
        return _unchanged(report)
    page = Page(
        "Pretraining",
        f"{report['parameters']:,} parameters, {report['trained_tokens']:,} tokens in {report['steps']:,} steps, "
        f"{report['trained_tokens'] / max(1, report['corpus_tokens']):.2f} passes over the training split; computed in "
        f"{report['precision']}.",
    )
    _validation(page, report)
    page.heading("Loss").figure(folder / "loss.png", "training and validation loss over tokens")
    page.heading("Learning rate and gradient")
    page.figure(folder / "learning_rate.png", "learning rate and gradient norm over steps")
    page.heading("Samples")
    for sample in report["samples"]:
        page.text(f"after step {sample['step']:,}").code(str(sample["text"]))
    return page


def _unchanged(report: dict[str, Any]) -> Page:
    page = Page(
        "A model taken as it is",
        f"{report['source']}: {report['parameters']:,} parameters, byte for byte; nothing was trained.",
    )
    page.heading("What it is").table(
        ["", ""],
        [
            ["architecture", ", ".join(report["architectures"]) or "not named"],
            ["model type", report["model_type"] or "not named"],
            *([f"numbers of type {kind}", number] for kind, number in report["dtypes"].items()),
        ],
    )
    if "validation_loss" in report:
        _validation(page, report)
    return page.heading("Files").table(["file", "bytes"], report["files"].items())


def _validation(page: Page, report: dict[str, Any]) -> None:
    page.heading("On the whole validation split").table(
        ["", "loss, nats a token", "bits a byte"],
        [
            ["this model", report["validation_loss"], report["validation_bits_per_byte"]],
            ["unigram frequencies of the training split", report["unigram_loss"], report["unigram_bits_per_byte"]],
        ],
    )
    page.text(
        f"{report['validation_tokens']:,} tokens, each predicted once; standard error of the loss "
        f"{report['validation_loss_stderr']:.4f}, over windows of one context."
    )
