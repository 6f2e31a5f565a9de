"""Multiple-choice items made of closed questions: the right answer among wrong ones from the question itself."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from components.tasks.signatures.verifier import has_verifier, judge

_WRONG_ANSWERS = 3
_PUNCTUATION = frozenset({",", "=", "*", "**", "/", "(", ")"})


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

    Wrong answers come from the signature in the question: other names for a name, other defaults for a default, other
    lists for a list. Where the answer is a number, a yes or no, or nothing of the question, they are right answers to
    other questions of that kind.
    """
    usable = [record for record in records if has_verifier(record) and len(record.get("messages") or ()) <= 1]
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for record in usable:
        answers[record["kind"]][record["reference"]] += 1
    items = []
    for record in usable:
        # Seeded by the question alone: an item does not change when others come or go around it.
        chance = random.Random(f"{seed}/{record['prompt']}")
        candidates = dict.fromkeys(_candidates(record, answers[record["kind"]]))
        wrong = sorted(candidate for candidate in candidates if candidate and not judge(record, candidate).correct)
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


def _candidates(record: Mapping[str, Any], same_kind: Counter[str]) -> list[str]:
    reference = record["reference"]
    names, defaults = _signature(record["prompt"])
    if record["kind"] in ("optional", "required"):
        return [*names, "none", *(", ".join(names[:end]) for end in range(2, len(names) + 1))]
    if reference in defaults:
        others = [default for default in defaults if default != reference]
        return others if len(others) >= _WRONG_ANSWERS else [*others, *_commonest(same_kind)]
    if reference in names:
        return names
    return _commonest(same_kind)


def _commonest(answers: Counter[str]) -> list[str]:
    """The eight commonest, equally common ones in ABC order."""
    return sorted(answers, key=lambda answer: (-answers[answer], answer))[:8]


def _signature(prompt: str) -> tuple[list[str], list[str]]:
    """Names and defaults in the last ``( a , b = 1 )`` of a question, which has spaces around its tokens."""
    words = prompt.partition(" ( ")[2].rpartition(" )")[0].split()
    defaults = [word for before, word in pairwise(words) if before == "="]
    names = [word for before, word in pairwise(["", *words]) if before != "=" and word.isidentifier()]
    return names, [default for default in defaults if default not in _PUNCTUATION]
