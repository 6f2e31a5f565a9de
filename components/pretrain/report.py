"""The pretrain stage's report: curves as CSV for DVC's plots and as pictures, and what its page shows."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.figure import Figure

from components.contract import Context
from components.pretrain.evaluation import Held
from components.pretrain.training_state import LoopState


def write_csv(rows: list[dict[str, float]], path: Path) -> None:
    """Rows of equal keys, a header first."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def loss_figure(progress: LoopState, unigram: float) -> Figure:
    """Training and validation loss over tokens, beside the unigram model's."""
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    axes.plot([p["tokens"] for p in progress.curve], [p["loss"] for p in progress.curve], label="training", lw=1)
    axes.plot(
        [p["tokens"] for p in progress.validation],
        [p["loss"] for p in progress.validation],
        "o-",
        label="validation",
    )
    axes.axhline(unigram, color="grey", ls="--", lw=1, label="unigram, validation")
    axes.set(xlabel="tokens", ylabel="loss (nats a token)")
    axes.legend()
    return figure


def rate_figure(progress: LoopState) -> Figure:
    """Learning rate and gradient norm over steps."""
    figure = Figure(figsize=(7, 4))
    above, below = figure.subplots(2, 1, sharex=True)
    steps = [p["step"] for p in progress.curve]
    above.plot(steps, [p["learning_rate"] for p in progress.curve])
    above.set(ylabel="learning rate")
    below.plot(steps, [p["gradient_norm"] for p in progress.curve], lw=1)
    below.set(xlabel="step", ylabel="gradient norm", yscale="log")
    return figure


def write_report(
    context: Context,
    *,
    progress: LoopState,
    held: Held,
    bits: float,
    unigram: float,
    unigram_bits: float,
    sizes: dict[str, int],
    precision: str,
) -> None:
    """Write the curves, ``report.json`` and the pictures; nothing in them depends on the time it took."""
    folder = context.outputs["report"]
    write_csv(progress.curve, folder / "curve.csv")
    write_csv(progress.validation, folder / "validation.csv")
    context.figure("loss", loss_figure(progress, unigram))
    context.figure("learning_rate", rate_figure(progress))
    results = {
        "validation_loss": held.loss,
        "validation_loss_stderr": held.stderr,
        "validation_tokens": held.tokens,
        "validation_bits_per_byte": bits,
        "unigram_loss": unigram,
        "unigram_bits_per_byte": unigram_bits,
    }
    context.report({"steps": progress.step, **sizes, "precision": precision, **results, "samples": progress.samples})
