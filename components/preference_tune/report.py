"""The report page of preference_tune."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from components.contract import Context
from components.finetuning.curves import curve_figure, write_curve
from components.finetuning.pairs import Pair
from components.finetuning.records import Record
from components.finetuning.scoring import Score
from components.finetuning.training import Curve
from components.reporting import Page
from components.tasks import has_verifier, judge

if TYPE_CHECKING:
    from components.preference_tune.stage import Measured

_SHOWN = 24


def write_report(
    context: Context,
    curve: Curve,
    training: Sequence[Pair],
    held_out: Sequence[Pair],
    sets: Mapping[str, Sequence[Record]],
    before: Mapping[str, Measured],
    after: Mapping[str, Measured],
    preference: Score,
    raw: Score,
) -> None:
    """Write ``report.html``, ``report.json``, ``curve.csv`` and the figures."""
    folder = context.outputs["report"]
    write_curve(curve, folder / "curve.csv")
    panels = {
        "loss": "loss",
        "rewards/accuracies": "training pairs in the right order",
        "rewards/margins": "margin of implicit rewards",
    }
    curves = context.figure("training", curve_figure(curve, panels))
    rows = _task_rows(sets, before, after)
    page = Page(
        "Preference tuning (DPO)",
        f"{len(training):,} pairs of answers to {len({p.record['prompt'] for p in training}):,} fresh questions, "
        f"{context.parameters.steps:,} steps of {context.parameters.batch_size}; "
        f"losses {' + '.join(context.parameters.losses)}, beta {context.parameters.beta:g}.",
    )
    if rows:
        page.heading("The task, before and after")
        page.table(["questions", "answers", "figure", "n", "instruct", "± stderr", "assistant", "± stderr"], rows)
        page.text(
            "Preference accuracy alone hides damage: a model can learn which of two answers is preferred and still "
            "answer worse. Settings are chosen on the development questions; the test questions are for the report."
        )
    page.heading("Preferences")
    page.table(
        ["figure", "n", "instruct", "assistant", "± standard error"],
        [
            ["held-out pairs in the right order", preference.n, raw.value, preference.value, preference.stderr],
            ["mean reward of greedy test answers", after["test"].reward.n, before["test"].reward.value,
             after["test"].reward.value, after["test"].reward.stderr],
        ],
    )  # fmt: skip
    page.text(
        "The assistant orders a pair by its gain in log-probability over the instruct model (the implicit reward of "
        "DPO), the instruct model by log-probability itself."
    )
    page.heading("Training").figure(curves, "Loss, accuracy and margin over training")
    page.heading("Greedy answers to test questions, before and after")
    page.table(["question", "expected", "instruct", "", "assistant", ""], _samples(sets["test"], before, after))
    page.heading("Training pairs")
    page.table(["question", "better", "worse"],
               [[p.record["prompt"], p.chosen.strip(), p.rejected.strip()] for p in training[:10]])  # fmt: skip
    page.write(folder / "report.html")
    body = {
        "training_pairs": len(training),
        "held_out_pairs": len(held_out),
        "pairs_worded_alike": sum(pair.same_style is True for pair in training),
        "task": [
            dict(zip(["questions", "answers", "figure", "n", "instruct", "instruct_stderr", "assistant", "stderr"], row,
                     strict=True))
            for row in rows
        ],
        "preference_accuracy": {"reference_log_probability": raw.value, "assistant": preference.value},
        "warnings": context.warnings,
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


def _task_rows(
    sets: Mapping[str, Sequence[Record]], before: Mapping[str, Measured], after: Mapping[str, Measured]
) -> list[list[object]]:
    rows: list[list[object]] = []
    for name in sets:
        for way in ("greedy", "sampled"):
            was, now = getattr(before[name], way), getattr(after[name], way)
            if was is None or now is None:
                continue
            for figure, old, new in (
                ("right and terse", was.terse, now.terse),
                ("right", was.correct, now.correct),
            ):
                rows.append([name, way, figure, new.n, old.value, old.stderr, new.value, new.stderr])
    return rows


def _samples(
    records: Sequence[Record], before: Mapping[str, Measured], after: Mapping[str, Measured]
) -> list[list[str]]:
    """The first questions of each kind in turn."""
    seen: Counter[str] = Counter()
    order = []
    for row, record in enumerate(records):
        order.append((seen[record["kind"]], row))
        seen[record["kind"]] += 1
    shown = []
    for _, row in sorted(order)[:_SHOWN]:
        record, old, new = records[row], before["test"].answers[row], after["test"].answers[row]
        expected = record["reference"] if has_verifier(record) else (record.get("completion") or "")
        shown.append(
            [record["prompt"], expected.strip(), old.strip(), _verdict(record, old), new.strip(), _verdict(record, new)]
        )
    return shown


def _verdict(record: Record, answer: str) -> str:
    return ("wrong", "right, chatty", "right, terse")[judge(record, answer).rank] if has_verifier(record) else ""
