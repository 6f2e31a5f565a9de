"""The pretrain stage's report page."""

from __future__ import annotations

import json

from components.contract import Context
from components.pretrain.curves import loss_figure, rate_figure, write_csv
from components.pretrain.evaluation import Held
from components.pretrain.progress import Progress
from components.reporting import Page


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
    """Write the curves, ``report.json`` and ``report.html``; nothing in them depends on the time it took."""
    folder = context.outputs["report"]
    write_csv(progress.curve, folder / "curve.csv")
    write_csv(progress.validation, folder / "validation.csv")
    losses = context.figure("loss", loss_figure(progress, unigram))
    rates = context.figure("learning_rate", rate_figure(progress))
    results = {
        "validation_loss": held.loss,
        "validation_loss_stderr": held.stderr,
        "validation_tokens": held.tokens,
        "validation_bits_per_byte": bits,
        "unigram_loss": unigram,
        "unigram_bits_per_byte": unigram_bits,
    }
    body = {"steps": progress.step, **sizes, "precision": precision, **results, "samples": progress.samples}
    (folder / "report.json").write_text(json.dumps(body, indent=1) + "\n")
    page = Page(
        "Pretraining",
        f"{sizes['parameters']:,} parameters, {sizes['trained_tokens']:,} tokens in {progress.step:,} steps, "
        f"{sizes['trained_tokens'] / max(1, sizes['corpus_tokens']):.2f} passes over the training split; computed in "
        f"{precision}.",
    )
    page.heading("On the whole validation split").table(
        ["", "loss, nats a token", "bits a byte"],
        [
            ["this model", held.loss, bits],
            ["unigram frequencies of the training split", unigram, unigram_bits],
        ],
    )
    page.text(
        f"{held.tokens:,} tokens, each predicted once; standard error of the loss {held.stderr:.4f}, over windows of "
        f"one context."
    )
    page.heading("Loss").figure(losses, "training and validation loss over tokens")
    page.heading("Learning rate and gradient").figure(rates, "learning rate and gradient norm over steps")
    page.heading("Samples")
    for piece in progress.samples:
        page.text(f"after step {piece['step']:,}").code(str(piece["text"]))
    page.write(folder / "report.html")
