"""The report of instruct_finetune: the curve, its picture and what the page shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from components.contract import Context
from components.finetuning.overlap import Overlap
from components.finetuning.preview import Part
from components.finetuning.records import Record, target
from components.finetuning.report import chosen_by_rule, plot_curve, shown, verdict, write_curve
from components.finetuning.scoring import AnswerScores, Likelihood
from components.finetuning.training import Curve
from components.instruct_finetune.packing import Packed
from components.statistics import Estimate
from components.tasks import has_verifier


def write_report(
    context: Context,
    curve: Curve,
    training: Sequence[Record],
    development: Sequence[Record],
    answers: Sequence[Sequence[str]],
    scores: AnswerScores | None,
    baselines: dict[str, AnswerScores],
    before: Likelihood,
    after: Likelihood,
    preview: Sequence[Sequence[Part]],
    alike: dict[str, Overlap] | None = None,
    packed: Packed | None = None,
) -> None:
    """Write ``report.json``, ``curve.csv`` and the picture.

    Args:
        alike: of an encoder-decoder, how alike answers are to the demonstrated ones, by who gave them.
        packed: the rows, where several demonstrations share one.
    """
    write_curve(curve, context.outputs["report"] / "curve.csv")
    context.figure(
        "training",
        plot_curve(curve, {"loss": "loss of answers (nats a token)", "mean_token_accuracy": "next token right"}),
    )
    kinds = Counter(record["kind"] for record in training)
    beside = {name: other.correct for name, other in baselines.items()}
    context.report({
        "demonstrations": len(training),
        "development_questions": len(development),
        "steps": int(curve[-1]["step"]),
        "batch_size": context.parameters.batch_size,
        "answer_loss": {"base": before.loss, "instruct": after.loss},
        "accuracy": _row(scores.correct, scores.terse, beside) if scores else None,
        "by_kind": {
            kind: _row(correct, terse, {name: other.by_kind[kind][0] for name, other in baselines.items()})
            for kind, (correct, terse) in (scores.by_kind if scores else {}).items()
        },
        "answers": [_answer(development[place], answers[place][0]) for place in shown(development)],
        "train_on": context.parameters.train_on,
        "preview": preview,
        "packing": packed.report() if packed else None,
        "overlap": {name: asdict(each) for name, each in (alike or {}).items()},
        "kinds": {kind: kinds[kind] for kind in sorted(kinds)},
        "warnings": context.warnings,
        **chosen_by_rule(context),
    })  # fmt: skip


def _row(correct: Estimate, terse: Estimate, baselines: dict[str, Estimate]) -> dict[str, Any]:
    """Shares of right answers to ``n`` questions, beside those of answering without reading."""
    return {
        "n": correct.n,
        "correct": correct.value,
        "stderr": correct.stderr,
        "correct_and_terse": terse.value,
        "baselines": {name: score.value for name, score in baselines.items()},
    }


def _answer(record: Record, answer: str) -> dict[str, str]:
    expected = record["reference"] if has_verifier(record) else target(record)
    return {
        "question": record["prompt"],
        "expected": expected.strip(),
        "answer": answer.strip(),
        "verdict": verdict(record, answer),
    }
