"""What evaluate has judged: the answers to the test instructions, each by itself or beside the demonstrated answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from components.contract import Metric
from components.evaluate.items import Item, identities
from components.evaluate.judge import prompts
from components.evaluate.judge.client import JudgeClient, JudgeFailed
from components.evaluate.judge.length_control import length_controlled
from components.evaluate.judge.mt_bench import measure_mt_bench
from components.evaluate.judge.pairs import compare
from components.evaluate.judge.parameters import JudgeParameters
from components.evaluate.judge.verdicts import Case, Judge, judging
from components.evaluate.subject import Subject
from components.finetuning.records import Record, conversation, demonstrates, target
from components.statistics import estimate
from core.errors import InputProblem


def require_judge(parameters: JudgeParameters) -> None:
    """Raise an :class:`InputProblem` where the judge cannot be reached, before minutes of answering."""
    try:
        with JudgeClient(parameters) as client:
            client.require()
    except JudgeFailed as failed:
        raise InputProblem(f"evaluate.judge: {failed}") from None


@dataclass(frozen=True)
class _Answered:
    """A test instruction, its id among the items, and the model's answer."""

    record: Record
    item: str
    reply: str


def measure_judged(subject: Subject, records: Sequence[Record]) -> dict[str, Any] | None:
    """Record what the judge of the parameters says of the model's replies to ``records``, and of MT-Bench.

    A model that has learnt no turns is not judged.

    Raises:
        JudgeFailed: the judge stopped answering; the verdicts so far are kept.
    """
    context = subject.context
    parameters: JudgeParameters | None = context.parameters.judge
    if parameters is None or not subject.chat:
        return None
    with judging(parameters, context.cache, context.scratch.name) as judge:
        report: dict[str, Any] = {
            "endpoint": parameters.endpoint,
            "model": judge.identity,
            "mode": parameters.mode,
        }
        names = identities(record["prompt"] for record in records)
        answered = list(map(_Answered, records, names, subject.replies))
        if rows := [answered[place] for place in _chosen(subject, parameters, records)]:
            report |= _scores(subject, judge, rows) if parameters.mode == "score" else _pairs(subject, judge, rows)
        if parameters.mt_bench is not None:
            report["mt_bench"] = measure_mt_bench(subject, judge)
    tally = judge.tally
    report["verdicts"] = tally.as_dict()
    if tally.failures:
        listed = "; ".join(f"{count} × {reason}" for reason, count in tally.failures.most_common(3))
        context.warn(f"the judge gave no verdict on {tally.asked - tally.judged} of {tally.asked} questions: {listed}")
    context.environment |= {
        "judge_model": parameters.model,
        "judge_endpoint": parameters.endpoint,
        "judge_prompt_tokens": str(tally.own_prompt_tokens),
        "judge_completion_tokens": str(tally.own_completion_tokens),
    }
    return report


def _chosen(subject: Subject, parameters: JudgeParameters, records: Sequence[Record]) -> list[int]:
    """Places of the records to judge, a sample by seed if there are more than wanted, in order."""
    places = list(range(len(records)))
    if parameters.mode == "pairwise":
        places = [place for place in places if demonstrates(records[place])]
        if records and not places:
            subject.context.warn(
                "evaluate.judge.mode pairwise compares with demonstrated answers, and no test instruction has one"
            )
    if len(places) <= parameters.prompts:
        return places
    drawn = np.random.default_rng(subject.context.seed).choice(len(places), size=parameters.prompts, replace=False)
    return [places[number] for number in np.sort(drawn)]


def question_text(record: Record) -> str:
    """What was asked, the turns before it included."""
    messages = conversation(record)
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _scores(subject: Subject, judge: Judge, rows: Sequence[_Answered]) -> dict[str, Any]:
    """Scores of single answers; where the row has a reference or a demonstrated answer, the judge sees it."""
    context, parameters = subject.context, judge.parameters
    questions = []
    for row in rows:
        reference = _reference(row.record)
        texts = {"question": question_text(row.record), "answer": row.reply}
        prompt = prompts.load(f"score-{parameters.scale}", reference=reference is not None)
        questions.append(Case(prompt, texts | ({"reference": reference} if reference is not None else {})))
    with context.progress("verdicts", len(questions), unit="verdicts") as advance:

        def on_verdict() -> None:
            advance()
            subject.raise_if_stopping()

        verdicts = judge.verdicts(questions, on_verdict)
    given = [(row, float(v.value)) for row, v in zip(rows, verdicts, strict=True) if v.value is not None]
    report: dict[str, Any] = {
        "scale": parameters.scale,
        "prompts": sorted({question.prompt.name for question in questions}),
        "answers": [
            {
                "question": row.record["prompt"],
                "answer": row.reply,
                "score": v.value,
                "judgement": v.answer,
                "failure": v.failure,
            }
            for row, v in zip(rows, verdicts, strict=True)
        ],
    }
    if _enough(subject, parameters, len(given), len(rows)):
        value = estimate([score for _, score in given], [row.record["group"] for row, _ in given])
        context.record(Metric("judge_score", value.value, True, value.stderr, value.n, "instructions"))
        subject.items.extend(_item(row, "judge_score", score, _reference(row.record)) for row, score in given)
        report["score"] = asdict(value)
    return report


def _pairs(subject: Subject, judge: Judge, rows: Sequence[_Answered]) -> dict[str, Any]:
    """Win rates against the demonstrated answers, a tie counting half."""
    context, parameters = subject.context, judge.parameters
    with context.progress("verdicts", 2 * len(rows), unit="verdicts") as advance:

        def on_verdict() -> None:
            advance()
            subject.raise_if_stopping()

        asked = [(question_text(row.record), row.reply, target(row.record)) for row in rows]
        outcomes = compare(judge, asked, on_verdict)
    decided = [(row, each, each.win) for row, each in zip(rows, outcomes, strict=True) if each.win is not None]
    report: dict[str, Any] = {
        "prompts": [prompts.load("pair").name],
        "inconsistent": sum(outcome.inconsistent for _, outcome, _ in decided),
        "answers": [
            {"question": row.record["prompt"], "answer": row.reply, "demonstrated": target(row.record)} | asdict(each)
            for row, each in zip(rows, outcomes, strict=True)
        ],
    }
    if _enough(subject, parameters, len(decided), len(rows)):
        groups, wins = [row.record["group"] for row, _, _ in decided], [win for _, _, win in decided]
        rate = estimate(wins, groups)
        own = [len(row.reply) for row, _, _ in decided]
        other = [len(target(row.record)) for row, _, _ in decided]
        controlled = length_controlled(wins, own, other, groups, seed=context.seed)
        for name, value in (("judge_win_rate", rate), ("judge_win_rate_length_controlled", controlled)):
            context.record(Metric(name, value.value, True, value.stderr, value.n, "instructions"))
            report[name] = asdict(value)
        subject.items.extend(_item(row, "judge_win_rate", win, target(row.record)) for row, _, win in decided)
    return report


def _item(row: _Answered, metric: str, score: float, reference: str | None) -> Item:
    record = row.record
    return Item("instructions", row.item, metric, score, row.reply, reference, record["prompt"], record["group"])


def _reference(record: Record) -> str | None:
    if isinstance(reference := record.get("reference"), str) and reference.strip():
        return reference
    return target(record) if demonstrates(record) else None


def _enough(subject: Subject, parameters: JudgeParameters, judged: int, wanted: int) -> bool:
    """Whether so many answers have a verdict that a metric of them stands for all; warns where not."""
    if judged and judged >= parameters.min_judged * wanted:
        return True
    subject.context.warn(
        f"the judge gave a verdict on {judged} of {wanted} answers, fewer than evaluate.judge.min_judged asks for; no "
        "metric is recorded"
    )
    return False
