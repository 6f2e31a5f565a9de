"""MT-Bench: 80 questions with a follow-up each, both answers scored by the judge (Zheng et al. 2023).

The questions are the public ``question.jsonl`` as it is. Answers are greedy; where a question has a reference (the
reasoning and mathematics ones), the judge sees it. The prompts' wording is this project's, so scores compare with each
other and not with published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from components.chat_template import Dialogue
from components.contract import Metric
from components.conversations import refusals, render
from components.evaluate.items import Item
from components.evaluate.judge import prompts
from components.evaluate.judge.mt_bench_questions import TwoTurns, read_questions
from components.evaluate.judge.verdicts import Case, Judge, Ruling
from components.evaluate.subject import Subject
from components.generation import answers
from components.statistics import estimate
from core.errors import InputProblem


def measure_mt_bench(subject: Subject, judge: Judge) -> dict[str, Any]:
    """Record ``mt_bench`` (the mean of both turns' scores, 1 to 10), ``mt_bench_turn_1`` and ``mt_bench_turn_2``.

    A question whose conversation the model's context or template does not hold is left out, with a warning.
    """
    context, parameters = subject.context, judge.parameters
    assert parameters.mt_bench is not None
    file = read_questions(context.inputs["raw"].parents[1] / parameters.mt_bench, parameters.mt_bench)
    if file.problems:
        raise InputProblem(file.problems)
    if not subject.tokenizer.chat_template:
        context.warn("MT-Bench was left out: the model has no chat template for its two turns")
        return {"questions": len(file.questions), "sha256": file.sha256, "left_out": 2 * len(file.questions)}
    questions = file.questions
    opening = [Dialogue([{"role": "user", "content": question.turns[0]}]) for question in questions]
    first = _answered(subject, opening, parameters.max_new_tokens)
    following = {
        place: Dialogue(
            [*opening[place], {"role": "assistant", "content": reply}, {"role": "user", "content": turns[1]}]
        )
        for place, reply in first.items()
        for turns in [questions[place].turns]
    }
    places = list(following)
    later = _answered(subject, list(following.values()), parameters.max_new_tokens)
    second = {places[number]: reply for number, reply in later.items()}
    if left_out := 2 * len(questions) - len(first) - len(second):
        context.warn(
            f"MT-Bench: {left_out} of {2 * len(questions)} answers were not asked for: the model's context of "
            f"{subject.window} tokens or its chat template does not hold the conversation"
        )
    asked = [(place, 1, _first(questions[place], reply)) for place, reply in first.items()]
    asked += [(place, 2, _second(questions[place], first[place], reply)) for place, reply in second.items()]
    with context.progress("MT-Bench verdicts", len(asked), unit="verdicts") as advance:

        def on_verdict() -> None:
            advance()
            subject.raise_if_stopping()

        verdicts = judge.verdicts([question for _, _, question in asked], on_verdict)
    scored = [(place, turn, verdict) for (place, turn, _), verdict in zip(asked, verdicts, strict=True)]
    given = [(place, turn, float(v.value)) for place, turn, v in scored if v.value is not None]
    report: dict[str, Any] = {"questions": len(questions), "sha256": file.sha256, "left_out": left_out}
    context.environment["mt_bench"] = f"sha256:{file.sha256}"
    if len(given) < parameters.min_judged * 2 * len(questions):
        context.warn(
            f"MT-Bench: {len(given)} of {2 * len(questions)} answers have a score, fewer than "
            f"evaluate.judge.min_judged asks for; no metric is recorded"
        )
        return report
    for name, turns in (("mt_bench", (1, 2)), ("mt_bench_turn_1", (1,)), ("mt_bench_turn_2", (2,))):
        rows = [(place, score) for place, turn, score in given if turn in turns]
        if rows:
            value = estimate([score for _, score in rows], [place for place, _ in rows])
            context.record(Metric(name, value.value, True, value.stderr, value.n, "raw"))
            report[name] = asdict(value)
            subject.items.extend(
                _item(questions[place], turn, name, score, (first if turn == 1 else second)[place])
                for place, turn, score in given
                if turn in turns
            )
    report["by_category"] = {
        category: float(np.mean([score for place, _, score in given if questions[place].category == category]))
        for category in sorted({questions[place].category for place, _, _ in given})
    }
    report["answers"] = [_shown(questions, first, second, each) for each in scored]
    return report


def _item(question: TwoTurns, turn: int, metric: str, score: float, reply: str) -> Item:
    asked, reference = question.turns[turn - 1], question.reference[turn - 1] or None
    return Item("mt_bench", f"{question.id}-{turn}", metric, score, reply, reference, asked, question.id)


def _answered(subject: Subject, prompts: Sequence[Dialogue], max_new_tokens: int) -> dict[int, str]:
    """Greedy answers by the prompt's place; prompts that fill the context, or that the template refuses, have none."""
    refused = refusals(subject.tokenizer, prompts)
    kept = [place for place in range(len(prompts)) if place not in refused]
    lengths = [len(ids) for ids in render(subject.tokenizer, [prompts[place] for place in kept])]
    kept = [place for place, length in zip(kept, lengths, strict=True) if length < subject.window]
    if not kept:
        return {}
    with subject.context.progress("MT-Bench answers", len(kept), unit="answers") as advance:

        def on_batch(count: int) -> None:
            advance(count)
            subject.raise_if_stopping()

        replies = answers(
            subject.model, subject.tokenizer, [prompts[place] for place in kept], max_new_tokens=max_new_tokens,
            seed=subject.context.seed, batch_size=subject.context.parameters.answers.batch_size, on_batch=on_batch,
            run=subject.generation,
        )  # fmt: skip
    return {place: reply[0] for place, reply in zip(kept, replies, strict=True)}


def _first(question: TwoTurns, reply: str) -> Case:
    reference = question.reference[0]
    texts = {"question": question.turns[0], "answer": reply}
    prompt = prompts.load("score-10", reference=bool(reference))
    return Case(prompt, texts | ({"reference": reference} if reference else {}))


def _second(question: TwoTurns, earlier: str, reply: str) -> Case:
    texts = {
        "question_1": question.turns[0], "answer_1": earlier, "question_2": question.turns[1], "answer_2": reply,
    }  # fmt: skip
    has_reference = all(question.reference)
    if has_reference:
        texts |= {"reference_1": question.reference[0], "reference_2": question.reference[1]}
    return Case(prompts.load("second-turn-10", reference=has_reference), texts)


def _shown(
    questions: Sequence[TwoTurns], first: dict[int, str], second: dict[int, str], scored: tuple[int, int, Ruling]
) -> dict[str, Any]:
    place, turn, verdict = scored
    return {
        "question_id": questions[place].id,
        "turn": turn,
        "answer": (first if turn == 1 else second)[place],
        "score": verdict.value,
        "judgement": verdict.answer,
        "failure": verdict.failure,
    }
