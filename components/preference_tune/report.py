"""The report of preference_tune: the curve, its picture and what the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.contract import Context
from components.finetuning.records import Record
from components.finetuning.report import chosen_by_rule, plot_curve, shown, verdict, write_curve
from components.finetuning.training import Curve
from components.preference_tune.measure import MeasuredModel, Ordered
from components.preference_tune.parameters import ONLINE, Reward
from components.tasks import has_verifier

#: What each method's curves show, by TRL's names; a curve that a run lacks is left out.
_PAIRS = {
    "loss": "loss",
    "rewards/accuracies": "training pairs in the right order",
    "rewards/margins": "margin of implicit rewards",
}
_LABELS = {"loss": "loss", "rewards/margins": "margin of implicit rewards", "kl": "KL divergence"}
_ONLINE = {
    "reward": "reward of drawn answers",
    "accuracy": "right answers among the drawn",
    "kl": "KL divergence",
    "entropy": "entropy, nats a token",
    "completions/mean_length": "tokens of an answer",
}


def write_report(
    context: Context,
    curve: Curve,
    training: Sequence[Any],
    held_out: Sequence[Any],
    sets: Mapping[str, Sequence[Record]],
    before: Mapping[str, MeasuredModel],
    after: Mapping[str, MeasuredModel],
    ordered: Ordered | None,
) -> None:
    """Write ``report.json``, ``curve.csv`` and the pictures.

    Args:
        training, held_out: pairs, labelled answers, or records, as the method learns from them.
        ordered: how held-out answers are ordered; None for methods that learn from no given answers.
    """
    parameters = context.parameters
    method = parameters.method
    write_curve(curve, context.outputs["report"] / "curve.csv")
    panels = _ONLINE if method in ONLINE else _LABELS if method == "kto" else _PAIRS
    context.figure("training", plot_curve(curve, panels))
    body: dict[str, Any] = {"method": method, "steps": int(curve[-1]["step"]), "batch_size": parameters.batch_size,
                            "beta": parameters.beta}  # fmt: skip
    if method in ONLINE:
        each = {f"rewards/{reward.name}/mean": f"{reward.name}, of drawn answers" for reward in _given(context)}
        context.figure("rewards", plot_curve(curve, each))
        body |= {
            "questions": len({record["prompt"] for record in training}),
            "answers_a_question": parameters.sampling.samples,
            "earned": _earned_rows(context, before, after),
        }
    else:
        what = "answers" if method == "kto" else "pairs"
        body |= {
            f"training_{what}": len(training),
            f"held_out_{what}": len(held_out),
            "questions": len({example.record["prompt"] for example in training}),
        }
    if method == "kto":
        body["good_answers"] = sum(answer.good for answer in training)
        body["labelled"] = [
            {"question": answer.record["prompt"], "answer": answer.answer.strip(), "good": answer.good}
            for answer in training[:10]
        ]
    elif method not in ONLINE:
        body["pairs_worded_alike"] = sum(pair.same_style is True for pair in training)
        body["pairs"] = [
            {"question": pair.record["prompt"], "better": pair.chosen.strip(), "worse": pair.rejected.strip()}
            for pair in training[:10]
        ]
    if method == "dpo":
        body["losses"] = list(parameters.losses)
    body["task"] = _task_rows(sets, before, after)
    if ordered is not None:
        body["preference_accuracy"] = {
            "n": ordered.accuracy.n, "reference_log_probability": ordered.reference.value,
            "assistant": ordered.accuracy.value, "stderr": ordered.accuracy.stderr,
        }  # fmt: skip
        body["answer_loss"] = {"instruct": ordered.reference_loss, "assistant": ordered.loss}
    old, new = before["test"].reward, after["test"].reward
    if old is not None and new is not None:
        body["mean_reward"] = {"n": new.n, "instruct": old.value, "assistant": new.value, "stderr": new.stderr}
    body["answers"] = _answers(sets["test"], before, after)
    body["warnings"] = context.warnings
    body |= chosen_by_rule(context)
    context.report(body)


def _given(context: Context) -> Sequence[Reward]:
    given: Sequence[Reward] = context.parameters.rewards
    return given


def _earned_rows(
    context: Context, before: Mapping[str, MeasuredModel], after: Mapping[str, MeasuredModel]
) -> list[dict[str, Any]]:
    return [
        {
            "questions": name, "reward": reward.name, "type": reward.type, "weight": reward.weight,
            "n": after[name].earned[reward.name].n, "instruct": before[name].earned[reward.name].value,
            "instruct_stderr": before[name].earned[reward.name].stderr,
            "assistant": after[name].earned[reward.name].value, "stderr": after[name].earned[reward.name].stderr,
        }
        for name in after
        for reward in _given(context)
    ]  # fmt: skip


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
