"""The page of instruct_finetune: right answers beside those given without reading, the loss, questions with answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from components.pages.page import Page, read_report


def render(folder: Path) -> Page:
    """The page of the report in ``folder``."""
    report = read_report(folder)
    page = Page(
        "Instruction fine-tuning",
        f"{report['demonstrations']:,} demonstrations, {report['steps']:,} steps of {report['batch_size']}; "
        f"measured on {report['development_questions']:,} development questions that training never saw. "
        "The test questions are kept for the evaluate stage.",
    )
    if report["accuracy"]:
        baselines = report["accuracy"]["baselines"]
        page.heading("Right answers, greedy")
        page.table(
            ["kind", "questions", "right", "± standard error", "right and terse", *baselines],
            [_row(kind, row) for kind, row in (*report["by_kind"].items(), ("all", report["accuracy"]))],
        )
        page.text(
            "Standard errors are clustered by group: questions about one function rise and fall together. Beside them "
            f"what answering without reading scores: {', '.join(baselines)}."
        )
    if overlap := report.get("overlap"):
        page.heading("Overlap with the demonstrated answers, greedy")
        overlap_table(page, overlap)
    page.heading("Held-out loss of the answers")
    page.table(
        ["model", "nats a token", "perplexity"],
        [[name, loss, math.exp(loss)] for name, loss in report["answer_loss"].items()],
    )
    page.heading("Training").figure(folder / "training.png", "Loss and token accuracy over training")
    if packing := report.get("packing"):
        page.text(
            f"{packing['conversations']:,} conversations share {packing['rows']:,} rows of {packing['seq_length']:,} "
            f"tokens, which are {packing['fullness']:.1%} full. None sees another; a batch is counted in rows."
        )
    page.heading("Answers to development questions")
    page.table(
        ["question", "expected", "answer", "verdict"],
        [[one["question"], one["expected"], one["answer"], one["verdict"]] for one in report["answers"]],
    )
    if report.get("preview"):
        page.heading("Training examples as the model sees them")
        learnt = "every answer" if report["train_on"] == "all" else "the last answer"
        page.text(f"Rendered by the chat template. What is marked is learnt: {learnt} of a conversation, and its end.")
        for example in report["preview"]:
            page.marked(example)
    page.heading("Training data")
    return page.table(["kind", "demonstrations"], report["kinds"].items())


def overlap_table(page: Page, overlap: dict[str, Any]) -> None:
    """BLEU and ROUGE with their errors, a row for each who answered."""
    metrics = {"bleu": "BLEU", "rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rouge_l": "ROUGE-L"}
    page.table(
        ["answers", *(part for name in metrics.values() for part in (name, "±")), "n"],
        [
            [name, *(row[metric][part] for metric in metrics for part in ("value", "stderr")), row["bleu"]["n"]]
            for name, row in overlap.items()
        ],
    )
    page.text(
        "BLEU (sacrebleu) is from 0 to 100, ROUGE the F-measure from 0 to 1. Both say how alike the words are, not how "
        "right the answer is."
    )


def _row(kind: str, row: dict[str, Any]) -> list[Any]:
    return [kind, row["n"], row["correct"], row["stderr"], row["correct_and_terse"], *row["baselines"].values()]
