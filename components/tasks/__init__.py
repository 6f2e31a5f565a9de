"""The tasks whose answers can be checked, found by the verifier that a record names.

A task is one folder here. The stages know none of them: they read records of ``data/instructions`` and call the
functions below, which find the task of a record by its ``verifier``; the stage curate makes a task's data through
:mod:`components.tasks.curation`. A record without a verifier (a user's own question) has no task.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from components.tasks.contract import Judgement
from components.tasks.signatures import VERIFIER, judging

__all__ = ["Judgement", "baseline_answers", "has_verifier", "judge", "wrong_answers"]

Record = Mapping[str, Any]


class _Judging(Protocol):
    """What a task's module of judging has."""

    def judge(self, record: Record, answer: str) -> Judgement: ...

    def rule_answer(self, record: Record) -> str: ...

    def wrong_answers(self, record: Record, same_kind: Counter[str], most: int) -> list[str]: ...


_TASKS: dict[str, _Judging] = {VERIFIER: judging}


def has_verifier(record: Record) -> bool:
    """True if :func:`judge` can decide whether an answer to this record is right."""
    return record.get("verifier") in _TASKS and record.get("reference") is not None


def judge(record: Record, answer: str) -> Judgement:
    """Judge ``answer`` to the question of ``record``. Raises ValueError if the record has no verifier."""
    if not has_verifier(record):
        raise ValueError("this record has no verifier: judge it by a reward model instead")
    return _TASKS[record["verifier"]].judge(record, answer)


def wrong_answers(record: Record, same_kind: Counter[str], most: int) -> list[str]:
    """Plausible wrong answers to a record that has a verifier, for multiple choice; right ones may be among them.

    Args:
        same_kind: how often each reference occurs among the records of this kind.
        most: how many the caller will choose; where the question itself gives fewer, those of other questions follow.
    """
    return _TASKS[record["verifier"]].wrong_answers(record, same_kind, most)


def baseline_answers(training: Iterable[Record], records: Sequence[Record]) -> dict[str, list[str]]:
    """Answers to ``records`` that need no model, by name.

    ``majority``: the commonest reference of the record's kind in ``training`` (the overall one for a kind that is not
    there; of equally common ones the first in alphabetical order). ``rules``: a fixed rule of the record's task, empty
    where it has none. A baseline that answers nothing is left out.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    overall: Counter[str] = Counter()
    for record in training:
        if record.get("reference") is not None:
            counts[record["kind"]][record["reference"]] += 1
            overall[record["reference"]] += 1
    best = {kind: _commonest(answers) for kind, answers in counts.items()}
    given = {
        "majority": [best.get(record["kind"], _commonest(overall)) for record in records],
        "rules": [_TASKS[r["verifier"]].rule_answer(r) if has_verifier(r) else "" for r in records],
    }
    return {name: answers for name, answers in given.items() if any(answers)}


def _commonest(answers: Counter[str]) -> str:
    return min(answers, key=lambda answer: (-answers[answer], answer), default="")
