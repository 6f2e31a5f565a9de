"""Accuracy of greedy answers to held-out instructions, beside the majority's and simple rules'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from components.contract import Metric
from components.evaluate import answers, figures
from components.evaluate.subject import Subject


def answers_section(subject: Subject, records: Sequence[answers.Record], available: int) -> dict[str, Any] | None:
    """Record accuracy on the test instructions; ``None`` if there are none."""
    context = subject.context
    parameters = context.parameters.answers
    if not records:
        context.warn("there are no test instructions: answers were not measured")
        return None
    with context.progress("answers", len(records), unit="prompts") as advance:

        def on_batch(count: int) -> None:
            advance(count)
            subject.stop_if_asked()

        replies = answers.answer(
            subject.model,
            subject.tokenizer,
            records,
            chat=subject.chat,
            max_new_tokens=parameters.max_new_tokens,
            batch_size=parameters.batch_size,
            seed=context.seed,
            on_batch=on_batch,
        )
    judged = answers.judge_all(records, replies)
    unjudged = len(records) - len(judged)
    report: dict[str, Any] = {
        "prompts": len(records),
        "available": available,
        "judged": len(judged),
        "max_new_tokens": parameters.max_new_tokens,
    }
    if unjudged:
        context.warn(f"{unjudged} of {len(records)} test instructions have no checkable reference and were not judged")
    if judged:
        report |= _accuracy(subject, judged)
    examples = list(zip(records, replies, strict=True))[: parameters.examples]
    report["examples"] = [
        {"prompt": record["prompt"], "reference": record.get("reference"), "answer": reply}
        for record, reply in examples
    ]
    return report


def _accuracy(subject: Subject, judged: Sequence[answers.Judged]) -> dict[str, Any]:
    context = subject.context
    others = answers.baselines(context.inputs["instructions"], [one.record for one in judged])
    overall = {name: answers.score(rows) for name, rows in others.items()}
    correct, terse = answers.score(judged), answers.score(judged, "terse")
    context.record(
        Metric(
            "accuracy",
            correct.value,
            True,
            correct.stderr,
            correct.n,
            "instructions",
            {name: score.value for name, score in overall.items()},
        ),
        headline=subject.headline == "accuracy",
    )
    # The baselines answer tersely, so their two metrics are one.
    context.record(
        Metric(
            "correct_and_terse",
            terse.value,
            True,
            terse.stderr,
            terse.n,
            "instructions",
            {name: score.value for name, score in overall.items()},
        )
    )
    kinds, terse_kinds = answers.by_kind(judged), answers.by_kind(judged, "terse")
    baseline_kinds = {name: answers.by_kind(rows) for name, rows in others.items()}
    context.figure("accuracy_by_kind", figures.accuracy_by_kind(context.instance, kinds, baseline_kinds))
    gains = {name: answers.gain(judged, rows) for name, rows in others.items()}
    return {
        "accuracy": asdict(correct),
        "correct_and_terse": asdict(terse),
        "baselines": {name: asdict(score) for name, score in overall.items()},
        "gain_over": {name: gain._asdict() for name, gain in gains.items()},
        "by_kind": {
            kind: {
                "accuracy": asdict(score),
                "correct_and_terse": asdict(terse_kinds[kind]),
                "baselines": {name: baseline_kinds[name][kind].value for name in others},
            }
            for kind, score in kinds.items()
        },
    }
