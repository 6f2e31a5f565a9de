"""The report page of instruct_finetune."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence

from components.contract import Context
from components.finetuning.curves import curve_figure, write_curve
from components.finetuning.likelihood import Likelihood
from components.finetuning.records import Record, target
from components.finetuning.scoring import Scores
from components.finetuning.training import Curve
from components.reporting import Page
from components.tasks import has_verifier, judge

_SHOWN = 24


def write_report(
    context: Context,
    curve: Curve,
    training: Sequence[Record],
    development: Sequence[Record],
    answers: Sequence[Sequence[str]],
    scores: Scores | None,
    floors: dict[str, Scores],
    before: Likelihood,
    after: Likelihood,
) -> None:
    """Write ``report.html``, ``report.json``, ``curve.csv`` and the figures."""
    folder = context.outputs["report"]
    write_curve(curve, folder / "curve.csv")
    figure = context.figure(
        "training",
        curve_figure(curve, {"loss": "loss of answers (nats a token)", "mean_token_accuracy": "next token right"}),
    )
    parameters = context.parameters
    page = Page(
        "Instruction fine-tuning",
        f"{len(training):,} demonstrations, {parameters.steps:,} steps of {parameters.batch_size}; "
        f"measured on {len(development):,} development questions that training never saw. "
        "The test questions are kept for the evaluate stage.",
    )
    if scores:
        page.heading("Right answers, greedy")
        page.table(
            ["kind", "questions", "right", "± standard error", "right and terse", *floors],
            [
                *(
                    [kind, correct.n, correct.value, correct.stderr, terse.value,
                     *(floor.by_kind[kind][0].value for floor in floors.values())]
                    for kind, (correct, terse) in scores.by_kind.items()
                ),
                ["all", scores.correct.n, scores.correct.value, scores.correct.stderr, scores.terse.value,
                 *(floor.correct.value for floor in floors.values())],
            ],
        )  # fmt: skip
        page.text(
            "Standard errors are clustered by group: questions about one function rise and fall together. Beside them "
            f"what answering without reading scores: {', '.join(floors)}."
        )
    page.heading("Held-out loss of the answers")
    page.table(
        ["model", "nats a token", "perplexity"],
        [[name, value.loss, math.exp(value.loss)] for name, value in (("base", before), ("instruct", after))],
    )
    page.heading("Training").figure(figure, "Loss and token accuracy over training")
    page.heading("Answers to development questions")
    page.table(["question", "expected", "answer", "verdict"], [_row(r, a[0]) for r, a in _sample(development, answers)])
    page.heading("Training data")
    kinds = Counter(record["kind"] for record in training)
    page.table(["kind", "demonstrations"], [[kind, kinds[kind]] for kind in sorted(kinds)])
    page.write(folder / "report.html")
    body = {
        "demonstrations": len(training),
        "development_questions": len(development),
        "answer_loss": {"base": before.loss, "instruct": after.loss},
        "by_kind": {k: {"n": c.n, "correct": c.value, "stderr": c.stderr, "correct_and_terse": t.value}
                    for k, (c, t) in (scores.by_kind if scores else {}).items()},
        "warnings": context.warnings,
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def _sample(records: Sequence[Record], answers: Sequence[Sequence[str]]) -> list[tuple[Record, Sequence[str]]]:
    """The first questions of each kind in turn."""
    seen: Counter[str] = Counter()
    turns = []
    for record, answer in zip(records, answers, strict=True):
        turns.append((seen[record["kind"]], len(turns), record, answer))
        seen[record["kind"]] += 1
    return [(record, answer) for _, _, record, answer in sorted(turns, key=lambda turn: turn[:2])[:_SHOWN]]


def _row(record: Record, answer: str) -> list[str]:
    verdict = ""
    if has_verifier(record):
        verdict = ("wrong", "right, chatty", "right, terse")[judge(record, answer).rank]
    expected = record["reference"] if has_verifier(record) else target(record)
    return [record["prompt"], expected.strip(), answer.strip(), verdict]
