"""What evaluate has judged: the answers to the test instructions, each by itself or beside the demonstrated answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from components.contract import Metric
from components.evaluate.judge import prompts
from components.evaluate.judge.client import JudgeClient, JudgeFailed
from components.evaluate.judge.length_control import length_controlled
from components.evaluate.judge.mt_bench import measure_mt_bench
from components.evaluate.judge.pairs import compare, lengths
from components.evaluate.judge.parameters import JudgeParameters
from components.evaluate.judge.verdicts import Judge, Question, judging
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


def measure_judged(subject: Subject, records: Sequence[Record], replies: Sequence[str]) -> dict[str, Any] | None:
    """Record what the judge of the parameters says of ``replies`` to ``records``, and of MT-Bench.

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
        chosen = _chosen(subject, parameters, records)
        rows = [(records[place], replies[place]) for place in chosen]
        if rows:
            report |= _scores(subject, judge, rows) if parameters.mode == "score" else _pairs(subject, judge, rows)
        if parameters.mt_bench is not None:
            report["mt_bench"] = measure_mt_bench(subject, judge)
    tally = judge.tally
    report["verdicts"] = tally.as_dict()
    if tally.failures:
        listed = "; ".join(f"{count} × {reason}" for reason, count in tally.failures.most_common(3))
        context.warn(f"the judge gave no verdict on {tally.asked - tally.judged} of {tally.asked} questions: {listed}")
    context.environment |= {
        "judge": f"{judge.identity} at {parameters.endpoint}",
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


def _scores(subject: Subject, judge: Judge, rows: Sequence[tuple[Record, str]]) -> dict[str, Any]:
    """Scores of single answers; where the row has a reference or a demonstrated answer, the judge sees it."""
    context, parameters = subject.context, judge.parameters
    questions = []
    for record, reply in rows:
        reference = _reference(record)
        texts = {"question": question_text(record), "answer": reply}
        prompt = prompts.load(f"score-{parameters.scale}", reference=reference is not None)
        questions.append(Question(prompt, texts | ({"reference": reference} if reference is not None else {})))
    with context.progress("verdicts", len(questions), unit="verdicts") as advance:

        def on_verdict() -> None:
            advance()
            subject.raise_if_stopping()

        verdicts = judge.verdicts(questions, on_verdict)
    given = [(record, float(v.value)) for (record, _), v in zip(rows, verdicts, strict=True) if v.value is not None]
    report: dict[str, Any] = {
        "scale": parameters.scale,
        "prompts": sorted({question.prompt.name for question in questions}),
        "answers": [
            {"question": record["prompt"], "answer": reply, "score": v.value, "judgement": v.answer, "failure": v.failure}
            for (record, reply), v in zip(rows, verdicts, strict=True)
        ],
    }  # fmt: skip
    if _enough(subject, parameters, len(given), len(rows)):
        value = estimate([score for _, score in given], [record["group"] for record, _ in given])
        context.record(Metric("judge_score", value.value, True, value.stderr, value.n, "instructions"))
        report["score"] = asdict(value)
    return report


def _pairs(subject: Subject, judge: Judge, rows: Sequence[tuple[Record, str]]) -> dict[str, Any]:
    """Win rates against the demonstrated answers, a tie counting half."""
    context, parameters = subject.context, judge.parameters
    with context.progress("verdicts", 2 * len(rows), unit="verdicts") as advance:

        def on_verdict() -> None:
            advance()
            subject.raise_if_stopping()

        asked = [(question_text(record), reply, target(record)) for record, reply in rows]
        outcomes = compare(judge, asked, on_verdict)
    decided = [place for place, outcome in enumerate(outcomes) if outcome.win is not None]
    report: dict[str, Any] = {
        "prompts": [prompts.load("pair").name],
        "inconsistent": sum(outcomes[place].inconsistent for place in decided),
        "answers": [
            {"question": record["prompt"], "answer": reply, "demonstrated": target(record), **asdict(outcome)}
            for (record, reply), outcome in zip(rows, outcomes, strict=True)
        ],
    }
    if _enough(subject, parameters, len(decided), len(rows)):
        groups = [rows[place][0]["group"] for place in decided]
        wins = [outcomes[place].win or 0.0 for place in decided]
        rate = estimate(wins, groups)
        own, other = lengths([asked[place] for place in decided])
        controlled = length_controlled(wins, own, other, groups, seed=context.seed)
        for name, value in (("judge_win_rate", rate), ("judge_win_rate_length_controlled", controlled)):
            context.record(Metric(name, value.value, True, value.stderr, value.n, "instructions"))
            report[name] = asdict(value)
    return report


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
