"""Multiple-choice items made of closed questions: the right answer among wrong ones from the question itself."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.tasks import has_verifier, judge, wrong_answers

_WRONG_ANSWERS = 3


@dataclass(frozen=True)
class Choice:
    """One item. ``gold`` is the place of the right answer in ``choices``."""

    prompt: str
    choices: tuple[str, ...]
    gold: int
    group: str
    kind: str
    lead: str


def build(records: Sequence[Mapping[str, Any]], seed: int) -> list[Choice]:
    """Items of all records that are a single checkable question; those without any wrong answer are left out.

    Wrong answers come from the record's task: from the question itself where that can be, else they are right answers
    to other questions of that kind.
    """
    usable = [record for record in records if has_verifier(record) and len(record.get("messages") or ()) <= 1]
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for record in usable:
        answers[record["kind"]][record["reference"]] += 1
    items = []
    for record in usable:
        # Seeded by the question alone: an item does not change when others come or go around it.
        chance = random.Random(f"{seed}/{record['prompt']}")
        candidates = wrong_answers(record, answers[record["kind"]], _WRONG_ANSWERS)
        wrong = sorted(candidate for candidate in set(candidates) if candidate and not judge(record, candidate).correct)
        if not wrong:
            continue
        chosen = [record["reference"], *chance.sample(wrong, min(_WRONG_ANSWERS, len(wrong)))]
        chance.shuffle(chosen)
        completion = record.get("completion") or ""
        lead = completion[: len(completion) - len(completion.lstrip())]
        gold = chosen.index(record["reference"])
        items.append(Choice(record["prompt"], tuple(chosen), gold, record["group"], record["kind"], lead))
    return items


def as_rows(items: Sequence[Choice], *, chat: bool, end: str) -> list[dict[str, Any]]:
    """Rows for the harness. Every choice ends with the end token, or ``a`` would always beat ``a, b``.

    Args:
        chat: the harness will put the query into the chat template; otherwise it is written as a document.
    """
    return [
        {
            "query": item.prompt if chat else f"{item.prompt} Answer:",
            "choices": [f"{item.lead if chat else ' '}{choice}{end}" for choice in item.choices],
            "gold": item.gold,
            "group": item.group,
            "kind": item.kind,
        }
        for item in items
    ]


def chance_level(items: Sequence[Choice]) -> float:
    """Accuracy to expect of guessing."""
    return sum(1 / len(item.choices) for item in items) / len(items)
