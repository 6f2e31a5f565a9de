"""Two answers to one question before the judge, in both orders: who wins, or a tie.

Judges favour a place: the first answer, mostly. So each pair is judged twice, the answers exchanged, and an answer wins
only where it is preferred both times; anything else is a tie (Zheng et al. 2023, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from components.evaluate.judge import prompts
from components.evaluate.judge.verdicts import Case, Judge, Ruling

Pair = tuple[str, str, str]  # question, one answer, the other

_WINS = {("A", "B"): 1.0, ("B", "A"): 0.0}  # the one answer stands first, then second


@dataclass(frozen=True)
class Outcome:
    """What the judge made of a pair.

    Attributes:
        win: 1 where the one answer wins, 0 where the other does, 0.5 for a tie; ``None`` where there is no verdict in
            one of the orders.
        inconsistent: the verdict went by the place.
        judgements: the judge's words, the one answer first and then second.
    """

    win: float | None
    inconsistent: bool
    judgements: tuple[str | None, str | None]


def compare(judge: Judge, pairs: Sequence[Pair], advance: Callable[[], None] = lambda: None) -> list[Outcome]:
    """The outcome of each pair, in their order; equal answers are a tie without being asked about.

    Raises:
        JudgeFailed: as :meth:`Judge.verdicts`.
    """
    prompt = prompts.load("pair")
    open_pairs = [place for place, (_, one, other) in enumerate(pairs) if one != other]
    questions = []
    for place in open_pairs:
        question, one, other = pairs[place]
        questions.append(Case(prompt, {"question": question, "answer_a": one, "answer_b": other}))
        questions.append(Case(prompt, {"question": question, "answer_a": other, "answer_b": one}))
    verdicts = judge.verdicts(questions, advance) if questions else []
    found = [Outcome(0.5, False, (None, None))] * len(pairs)
    for number, place in enumerate(open_pairs):
        found[place] = _outcome(verdicts[2 * number], verdicts[2 * number + 1])
    return found


def _outcome(ahead: Ruling, behind: Ruling) -> Outcome:
    words = (ahead.answer, behind.answer)
    if ahead.value is None or behind.value is None:
        return Outcome(None, False, words)
    verdict = (str(ahead.value), str(behind.value))
    return Outcome(_WINS.get(verdict, 0.5), verdict in (("A", "A"), ("B", "B")), words)
