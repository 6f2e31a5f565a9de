"""Greedy answers to held-out instructions, judged, beside answers that need no model."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.contract import Context, Metric
from components.conversations import refusals, render
from components.evaluate import batches
from components.evaluate.answer_loss import measure_answer_loss
from components.evaluate.items import Item, identities
from components.evaluate.own_checks import measure_checks
from components.evaluate.subject import BASELINE_COLOURS, MODEL_COLOUR, Subject
from components.evaluate.text_metrics import measure_text
from components.finetuning.overlap import COPY, measure_overlap, record_overlap
from components.finetuning.records import Record, conversation, demonstrates, read_records
from components.finetuning.scoring import checkable, score, score_baselines
from components.generation import answers
from components.statistics import Estimate, paired_difference
from core.errors import InputProblem

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from transformers import PreTrainedTokenizerBase

# A question as the beginning of a document, for a model that has learnt documents and no turns.
DOCUMENT = "{{ eos_token }}{{ messages[-1]['content'] }} Answer:"
_SHOWN = 10


def load(instructions: Path, limit: int, seed: int) -> tuple[list[Record], int]:
    """At most ``limit`` test instructions, drawn by seed and kept in order, and how many there are.

    No instructions at all (a workspace that only pretrains) are no error: the list is empty.

    Raises:
        InputProblem: rows have the wrong shape.
    """
    path = instructions / "test.jsonl"
    if not path.is_file() or not path.read_text(encoding="utf-8").strip():
        return [], 0
    records = read_records(instructions, "test", needs="prompt")
    if len(records) <= limit:
        return records, len(records)
    chosen = np.sort(np.random.default_rng(seed).choice(len(records), size=limit, replace=False))
    return [records[index] for index in chosen], len(records)


def askable(context: Context, tokenizer: PreTrainedTokenizerBase, records: Sequence[Record]) -> list[Record]:
    """The records whose question the chat template takes; the others are left out, with a warning."""
    refused = refusals(tokenizer, [conversation(record) for record in records])
    if refused:
        reason = next(iter(refused.values()))
        context.warn(f"data/instructions/test.jsonl: {len(refused)} of {len(records)} rows are left out: {reason}")
    return [record for place, record in enumerate(records) if place not in refused]


def require_room(tokenizer: PreTrainedTokenizerBase, records: Sequence[Record], context: int) -> None:
    """Raise an :class:`InputProblem` naming prompts that leave no room for an answer."""
    lengths = [len(ids) for ids in render(tokenizer, [conversation(record) for record in records])]
    long = [(record, length) for record, length in zip(records, lengths, strict=True) if length >= context]
    if long:
        where = "data/instructions/test.jsonl"
        listed = [f"{where}: a prompt of {n} tokens: {record['prompt'][:60]!r}" for record, n in long[:_SHOWN]]
        if len(long) > _SHOWN:
            listed.append(f"... and {len(long) - _SHOWN} more")
        raise InputProblem(
            [
                *listed,
                f"the model's context holds {context} tokens for prompt and answer: shorten the prompts, or pretrain "
                f"with a longer context",
            ]
        )


def measure_answers(subject: Subject, records: Sequence[Record], available: int) -> dict[str, Any] | None:
    """Record accuracy on the test instructions and return what the report shows of it; ``None`` if there are none."""
    context = subject.context
    parameters = context.parameters.answers
    if not records:
        context.warn("there are no test instructions: answers were not measured")
        return None
    replies = _answer(subject, records)
    subject.replies.extend(replies)
    given = {id(record): [reply] for record, reply in zip(records, replies, strict=True)}
    judged = checkable(records)
    report: dict[str, Any] = {
        "prompts": len(records),
        "available": available,
        "judged": len(judged),
        "max_new_tokens": parameters.max_new_tokens,
    }
    if judged:
        if unjudged := len(records) - len(judged):
            context.warn(
                f"{unjudged} of {len(records)} test instructions have no checkable reference: accuracy is that of the "
                f"other {len(judged)}"
            )
        report |= _accuracy(subject, judged, [given[id(record)][0] for record in judged])
    report["checks"] = measure_checks(subject, records, replies)
    if subject.chat:
        report["text"] = measure_text(subject, records, replies)
    if subject.model.config.is_encoder_decoder:
        report["overlap"] = _overlap(subject, records, replies)
    elif subject.chat:
        report["answer_loss"] = measure_answer_loss(subject, records)
    if subject.chat and not judged and not (report.get("overlap") or report.get("answer_loss")):
        context.warn("the test instructions have neither a checkable reference nor an answer: nothing was measured")
    examples = list(zip(records, replies, strict=True))[: parameters.examples]
    report["examples"] = [
        {"prompt": record["prompt"], "reference": record.get("reference"), "answer": reply}
        for record, reply in examples
    ]
    return report


def _overlap(subject: Subject, records: Sequence[Record], replies: Sequence[str]) -> dict[str, Any]:
    """Record how alike the replies are to the answers that records demonstrate, beside copies of the questions."""
    shown = [place for place, record in enumerate(records) if demonstrates(record)]
    if not shown:
        return {}
    chosen = [records[place] for place in shown]
    said = {subject.name: [replies[place] for place in shown], COPY: [record["prompt"] for record in chosen]}
    alike = measure_overlap(said, chosen, subject.context.seed)
    record_overlap(subject.context, alike, headline=subject.headline == "rouge_l")
    return {name: asdict(each) for name, each in alike.items()}


def _answer(subject: Subject, records: Sequence[Record]) -> list[str]:
    """The model's most probable answer to each record, with the question in its chat template or as a document."""
    context, parameters, tokenizer = subject.context, subject.context.parameters.answers, subject.tokenizer
    if not subject.chat:
        tokenizer = copy.copy(tokenizer)
        tokenizer.chat_template = DOCUMENT
    prompts = [conversation(record) if subject.chat else record["prompt"] for record in records]
    rows = parameters.batch_size
    if rows == "auto":
        longest = max(map(len, render(tokenizer, prompts)), default=0) + parameters.max_new_tokens
        rows = batches.settle(context, "answers.batch_size", rows, subject.model, longest)
    with context.progress("answers", len(records), unit="prompts") as advance:

        def on_batch(count: int) -> None:
            advance(count)
            subject.raise_if_stopping()

        def answered(rows: int) -> list[list[str]]:
            return answers(
                subject.model,
                tokenizer,
                prompts,
                max_new_tokens=parameters.max_new_tokens,
                seed=context.seed,
                batch_size=rows,
                on_batch=on_batch,
                run=subject.generation,
            )

        replies = batches.halving(rows, answered)
    return [reply[0] for reply in replies]


def _accuracy(subject: Subject, records: Sequence[Record], replies: Sequence[str]) -> dict[str, Any]:
    context = subject.context
    scores = score(records, [[reply] for reply in replies])
    path = context.inputs["instructions"] / "instruct.jsonl"
    trained = path.is_file() and path.read_text(encoding="utf-8").strip()
    training = read_records(path.parent, "instruct", needs="prompt") if trained else []
    baselines = score_baselines(training, records)
    # The baselines answer tersely, so both their shares are one.
    beside = {name: baseline.correct.value for name, baseline in baselines.items()}
    for name, share in (("accuracy", scores.correct), ("correct_and_terse", scores.terse)):
        metric = Metric(name, share.value, True, share.stderr, share.n, "instructions", beside)
        context.record(metric, headline=subject.headline == name)
    rows = list(zip(identities(record["prompt"] for record in records), records, replies, strict=True))
    for name, each in (("accuracy", scores.right), ("correct_and_terse", scores.right_and_terse)):
        subject.items.extend(
            Item("instructions", item, name, value, reply, record["reference"], record["prompt"], record["group"])
            for (item, record, reply), value in zip(rows, each, strict=True)
        )
    by_kind = {name: {kind: pair[0] for kind, pair in each.by_kind.items()} for name, each in baselines.items()}
    own = {kind: correct for kind, (correct, _) in scores.by_kind.items()}
    context.figure("accuracy_by_kind", _plot_by_kind(subject.name, own, by_kind))
    groups = [record["group"] for record in records]
    return {
        "accuracy": asdict(scores.correct),
        "correct_and_terse": asdict(scores.terse),
        "baselines": {name: asdict(baseline.correct) for name, baseline in baselines.items()},
        "gain_over": {
            name: paired_difference(scores.right, baseline.right, groups)._asdict()
            for name, baseline in baselines.items()
        },
        "by_kind": {
            kind: {
                "accuracy": asdict(correct),
                "correct_and_terse": asdict(terse),
                "baselines": {name: by_kind[name][kind].value for name in baselines},
            }
            for kind, (correct, terse) in scores.by_kind.items()
        },
    }


def _plot_by_kind(
    model: str, scores: Mapping[str, Estimate], baselines: Mapping[str, Mapping[str, Estimate]]
) -> Figure:
    """Accuracy of each kind of question with one standard error either way, beside the baselines'."""
    from matplotlib.figure import Figure

    kinds = list(scores)
    shown = {model: scores, **baselines}
    height = 0.8 / len(shown)
    figure = Figure(figsize=(7.5, 1.0 + 0.55 * len(kinds)))
    axes = figure.subplots()
    for place, (name, of_kind) in enumerate(shown.items()):
        axes.barh(
            [row + place * height - 0.4 + height / 2 for row in range(len(kinds))],
            [of_kind[kind].value for kind in kinds],
            height=height,
            xerr=[of_kind[kind].stderr or 0.0 for kind in kinds] if place == 0 else None,
            label=name,
            color=MODEL_COLOUR if place == 0 else BASELINE_COLOURS[(place - 1) % len(BASELINE_COLOURS)],
        )
    axes.set_yticks(range(len(kinds)), [f"{kind} (n={scores[kind].n})" for kind in kinds])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of questions answered correctly")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return figure
