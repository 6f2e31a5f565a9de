"""How far a judge agrees with people: the pairs that were voted on, put before the judge in both orders.

Zheng et al. (2023, section 4.2) count agreement on pairs where both sides name a winner; Cohen's kappa (1960) says how
much of the agreement is more than two coins with the same habits would show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from components.evaluate.judge.pairs import Pair, compare
from components.evaluate.judge.verdicts import Judge
from components.statistics import Estimate, estimate


@dataclass(frozen=True)
class Agreement:
    """Of a judge with people.

    Attributes:
        decided: pairs on which both name a winner; ``share`` of them with the same winner, with its standard error.
        kappa: over wins, ties and defeats of all judged pairs; ``None`` where one side always says the same.
        votes: pairs that were put before the judge; ``unjudged``: those without a verdict, which do not count.
    """

    judge: str
    votes: int
    unjudged: int
    decided: int
    share: Estimate | None
    kappa: float | None
    verdicts: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def in_words(self) -> str:
        """A sentence."""
        lost = f" {self.unjudged} have no verdict." if self.unjudged else ""
        if self.share is None:
            return f"{self.judge}: on no pair do the judge and the person both name a winner.{lost}"
        error = f" ± {self.share.stderr:.2g}" if self.share.stderr is not None else ""
        kappa = f"; Cohen's kappa with ties {self.kappa:.2f}" if self.kappa is not None else ""
        return (
            f"{self.judge} names the same winner as people on {self.share.value:.3g}{error} of {self.decided} pairs "
            f"where both name one{kappa}.{lost}"
        )


def agreement(judge: Judge, pairs: Sequence[Pair], people: Sequence[float], questions: Sequence[str]) -> Agreement:
    """The judge's agreement with people's votes.

    Args:
        pairs: question, answer A, answer B.
        people: 1 where A was preferred, 0 where B was, 0.5 for a tie.
        questions: cluster of each pair: votes on one question are no independent evidence.

    Raises:
        JudgeFailed: the judge stopped answering.
    """
    outcomes = compare(judge, pairs)
    judged = [
        (person, outcome.win, question)
        for person, outcome, question in zip(people, outcomes, questions, strict=True)
        if outcome.win is not None
    ]
    both = [(float(person == win), question) for person, win, question in judged if person != 0.5 and win != 0.5]
    return Agreement(
        judge=f"{judge.identity} at {judge.parameters.endpoint}",
        votes=len(pairs),
        unjudged=len(pairs) - len(judged),
        decided=len(both),
        share=estimate([same for same, _ in both], [question for _, question in both]) if both else None,
        kappa=_kappa([(person, win) for person, win, _ in judged]),
        verdicts=judge.tally.as_dict(),
    )


def _kappa(pairs: Sequence[tuple[float, float]]) -> float | None:
    if not pairs:
        return None
    observed = sum(a == b for a, b in pairs) / len(pairs)
    shares = [[sum(pair[side] == value for pair in pairs) / len(pairs) for value in (0.0, 0.5, 1.0)] for side in (0, 1)]
    expected = sum(a * b for a, b in zip(*shares, strict=True))
    return None if expected == 1 else (observed - expected) / (1 - expected)
