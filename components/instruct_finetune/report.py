"""The report of instruct_finetune: the curve, its picture and what the page shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from components.contract import Context
from components.finetuning.curves import curve_figure, write_curve
from components.finetuning.likelihood import Likelihood
from components.finetuning.records import Record, target
from components.finetuning.scoring import Score, Scores
from components.finetuning.training import Curve
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
    """Write ``report.json``, ``curve.csv`` and the picture."""
    write_curve(curve, context.outputs["report"] / "curve.csv")
    context.figure(
        "training",
        curve_figure(curve, {"loss": "loss of answers (nats a token)", "mean_token_accuracy": "next token right"}),
    )
    kinds = Counter(record["kind"] for record in training)
    context.report({
        "demonstrations": len(training),
        "development_questions": len(development),
        "steps": context.parameters.steps,
        "batch_size": context.parameters.batch_size,
        "answer_loss": {"base": before.loss, "instruct": after.loss},
        "accuracy": _row(scores.correct, scores.terse, {n: s.correct for n, s in floors.items()}) if scores else None,
        "by_kind": {
            kind: _row(correct, terse, {name: floor.by_kind[kind][0] for name, floor in floors.items()})
            for kind, (correct, terse) in (scores.by_kind if scores else {}).items()
        },
        "answers": [_answer(record, given[0]) for record, given in _sample(development, answers)],
        "kinds": {kind: kinds[kind] for kind in sorted(kinds)},
        "warnings": context.warnings,
    })  # fmt: skip


def _row(correct: Score, terse: Score, baselines: dict[str, Score]) -> dict[str, Any]:
    """Shares of right answers to ``n`` questions, beside those of answering without reading."""
    return {
        "n": correct.n,
        "correct": correct.value,
        "stderr": correct.stderr,
        "correct_and_terse": terse.value,
        "baselines": {name: score.value for name, score in baselines.items()},
    }


def _sample(records: Sequence[Record], answers: Sequence[Sequence[str]]) -> list[tuple[Record, Sequence[str]]]:
    """The first questions of each kind in turn."""
    seen: Counter[str] = Counter()
    turns = []
    for record, answer in zip(records, answers, strict=True):
        turns.append((seen[record["kind"]], len(turns), record, answer))
        seen[record["kind"]] += 1
    return [(record, answer) for _, _, record, answer in sorted(turns, key=lambda turn: turn[:2])[:_SHOWN]]


def _answer(record: Record, answer: str) -> dict[str, str]:
    verdict = ""
    if has_verifier(record):
        verdict = ("wrong", "right, chatty", "right, terse")[judge(record, answer).rank]
    expected = record["reference"] if has_verifier(record) else target(record)
    return {
        "question": record["prompt"],
        "expected": expected.strip(),
        "answer": answer.strip(),
        "verdict": verdict,
    }
