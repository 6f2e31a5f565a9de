"""The report of preference_tune: the curve, its picture and what the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.contract import Context
from components.finetuning.pairs import Pair
from components.finetuning.records import Record
from components.finetuning.report import plot_curve, shown, verdict, write_curve
from components.finetuning.training import Curve
from components.statistics import Estimate
from components.tasks import has_verifier

if TYPE_CHECKING:
    from components.preference_tune.stage import MeasuredModel


def write_report(
    context: Context,
    curve: Curve,
    training: Sequence[Pair],
    held_out: Sequence[Pair],
    sets: Mapping[str, Sequence[Record]],
    before: Mapping[str, MeasuredModel],
    after: Mapping[str, MeasuredModel],
    preference: Estimate,
    raw: Estimate,
) -> None:
    """Write ``report.json``, ``curve.csv`` and the picture."""
    write_curve(curve, context.outputs["report"] / "curve.csv")
    panels = {
        "loss": "loss",
        "rewards/accuracies": "training pairs in the right order",
        "rewards/margins": "margin of implicit rewards",
    }
    context.figure("training", plot_curve(curve, panels))
    parameters = context.parameters
    context.report({
        "training_pairs": len(training),
        "held_out_pairs": len(held_out),
        "pairs_worded_alike": sum(pair.same_style is True for pair in training),
        "questions": len({pair.record["prompt"] for pair in training}),
        "steps": parameters.steps,
        "batch_size": parameters.batch_size,
        "losses": list(parameters.losses),
        "beta": parameters.beta,
        "task": _task_rows(sets, before, after),
        "preference_accuracy": {
            "n": preference.n, "reference_log_probability": raw.value, "assistant": preference.value,
            "stderr": preference.stderr,
        },
        "mean_reward": {
            "n": after["test"].reward.n, "instruct": before["test"].reward.value,
            "assistant": after["test"].reward.value, "stderr": after["test"].reward.stderr,
        },
        "answers": _answers(sets["test"], before, after),
        "pairs": [
            {"question": pair.record["prompt"], "better": pair.chosen.strip(), "worse": pair.rejected.strip()}
            for pair in training[:10]
        ],
        "warnings": context.warnings,
    })  # fmt: skip


def _task_rows(
    sets: Mapping[str, Sequence[Record]], before: Mapping[str, MeasuredModel], after: Mapping[str, MeasuredModel]
) -> list[dict[str, Any]]:
    rows = []
    for name in sets:
        for way in ("greedy", "sampled"):
            was, now = getattr(before[name], way), getattr(after[name], way)
            if was is None or now is None:
                continue
            for metric, old, new in (
                ("right and terse", was.terse, now.terse),
                ("right", was.correct, now.correct),
            ):
                rows.append({
                    "questions": name, "answers": way, "metric": metric, "n": new.n,
                    "instruct": old.value, "instruct_stderr": old.stderr,
                    "assistant": new.value, "stderr": new.stderr,
                })  # fmt: skip
    return rows


def _answers(
    records: Sequence[Record], before: Mapping[str, MeasuredModel], after: Mapping[str, MeasuredModel]
) -> list[dict[str, str]]:
    answers = []
    for place in shown(records):
        record, old, new = records[place], before["test"].answers[place], after["test"].answers[place]
        expected = record["reference"] if has_verifier(record) else (record.get("completion") or "")
        answers.append({
            "question": record["prompt"], "expected": expected.strip(),
            "instruct": old.strip(), "instruct_verdict": verdict(record, old),
            "assistant": new.strip(), "assistant_verdict": verdict(record, new),
        })  # fmt: skip
    return answers
