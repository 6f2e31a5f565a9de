"""Two models' answers to the same questions before the judge: `stemma compare A B --judge`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from components.evaluate.items import Item
from components.evaluate.judge.length_control import length_controlled
from components.evaluate.judge.pairs import Outcome, compare
from components.evaluate.judge.verdicts import Judge
from components.statistics import Estimate, estimate
from core.errors import InputProblem


@dataclass(frozen=True)
class JudgedPairs:
    """What the judge made of two models' answers; rates are those of the second model, a tie counting half.

    Attributes:
        pairs: question, answer of the first, answer of the second, outcome for the second.
        verdicts: what it took; see :class:`components.evaluate.judge.verdicts.Tally`.
    """

    judge: str
    pairs: list[tuple[str, str, str, Outcome]]
    win_rate: Estimate
    length_controlled: Estimate
    inconsistent: int
    verdicts: dict[str, Any]

    def in_words(self, a: str, b: str) -> str:
        rate, controlled = self.win_rate, self.length_controlled
        error = f" ± {rate.stderr:.2g}" if rate.stderr is not None else ""
        if rate.stderr is None or abs(rate.value - 0.5) <= 1.96 * rate.stderr:
            meaning = f"no difference that {rate.n} pairs can show"
        else:
            meaning = f"{b if rate.value > 0.5 else a} is preferred"
        lost = len(self.pairs) - rate.n
        return (
            f"{self.judge} prefers {b} in {rate.value:.3g}{error} of {rate.n} pairs ({controlled.value:.3g} at equal "
            f"lengths): {meaning}. {self.inconsistent} pairs were judged by their order alone and count as ties"
            + (f"; {lost} have no verdict and do not count." if lost else ".")
        )

    def as_dict(self) -> dict[str, Any]:
        pairs = [
            {"question": question, "a": one, "b": other, **asdict(outcome)}
            for question, one, other, outcome in self.pairs
        ]
        return {**asdict(self), "pairs": pairs}


def judge_pairs(judge: Judge, a: Iterable[Item], b: Iterable[Item]) -> JudgedPairs:
    """Have the judge compare the answers to every item that both models answered, at most ``parameters.prompts``.

    Raises:
        InputProblem: there are none, or too few have a verdict.
        JudgeFailed: the judge stopped answering.
    """
    parameters = judge.parameters
    ours = {(item.task, item.item): item for item in a if item.answer is not None and item.question}
    theirs = {(item.task, item.item): item for item in b if item.answer is not None and item.question}
    shared = [key for key in theirs if key in ours][: parameters.prompts]
    if not shared:
        raise InputProblem("--judge: no item has a question and an answer of both models")
    pairs = [(theirs[key].question or "", theirs[key].answer or "", ours[key].answer or "") for key in shared]
    outcomes = compare(judge, pairs)
    decided = [
        (outcome.win, len(pair[1]), len(pair[2]), theirs[key].group, outcome)
        for key, pair, outcome in zip(shared, pairs, outcomes, strict=True)
        if outcome.win is not None
    ]
    if len(decided) < max(1, parameters.min_judged * len(pairs)):
        reasons = "; ".join(f"{count} × {reason}" for reason, count in judge.tally.failures.most_common(3))
        raise InputProblem(
            f"--judge: a verdict on {len(decided)} of {len(pairs)} pairs, fewer than min_judged asks for: {reasons}"
        )
    wins, own, other, groups, kept_outcomes = (list(column) for column in zip(*decided, strict=True))
    return JudgedPairs(
        judge=f"{judge.identity} at {parameters.endpoint}",
        pairs=[(pair[0], pair[2], pair[1], outcome) for pair, outcome in zip(pairs, outcomes, strict=True)],
        win_rate=estimate(wins, groups),
        length_controlled=length_controlled(wins, own, other, groups, seed=0),
        inconsistent=sum(outcome.inconsistent for outcome in kept_outcomes),
        verdicts=judge.tally.as_dict(),
    )
