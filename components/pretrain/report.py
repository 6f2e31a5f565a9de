"""The pretrain stage's report: curves, pictures and what its page shows."""

from __future__ import annotations

from components.contract import Context
from components.pretrain.curves import loss_figure, rate_figure, write_csv
from components.pretrain.evaluation import Held
from components.pretrain.progress import Progress


def write_report(
    context: Context,
    *,
    progress: Progress,
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
