"""What signature questions are worth without reading: the most common answer, and fixed-place lookups.

Both are floors to show a model's accuracy beside. A parser is the ceiling: 100 % by construction.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

_ASKED = re.compile(r"^(?:Is|Which parameter comes after|What is the default of) (\S+?)(?:\?| keyword-only\?)")


def baseline_answers(training: Iterable[Mapping], records: Sequence[Mapping]) -> dict[str, list[str]]:
    """What needs no model, by name: answers to ``records`` of the ``majority`` of ``training``, and of fixed ``rules``.

    Either is left out where it has nothing to say: no training answers, no signature questions.
    """
    majority = majority_answers(training)
    given = {"majority": [majority(r) for r in records], "rules": [rule_answers(r) for r in records]}
    return {name: answers for name, answers in given.items() if any(answers)}


def majority_answers(train_records: Iterable[Mapping]) -> Callable[[Mapping], str]:
    """The most common training answer of the record's kind (the overall one for an unseen kind; ties: first in ABC)."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    overall: Counter[str] = Counter()
    for record in train_records:
        if record.get("reference") is not None:
            counts[record["kind"]][record["reference"]] += 1
            overall[record["reference"]] += 1
    best = {kind: _most_common(answers) for kind, answers in counts.items()}
    fallback = _most_common(overall)
    return lambda record: best.get(record.get("kind"), fallback)


def rule_answers(record: Mapping) -> str:
    """One look at a fixed place of the prompt, whatever stands there: no counting, no keeping track of defaults.

    ``first`` is the word after ``(``, ``last`` the word before ``)``, ``next`` the second word after the name asked
    about, ``default`` the same; yes/no kinds look for their star; lists answer with the first name; counts with 1.
    Empty for a prompt that is no signature question.
    """
    question, found, signature = record["prompt"].partition("? def ")
    words = signature.split()
    if not found or len(words) < 3 or words[1] != "(" or words[-1] != ")":
        return ""
    inside = words[2:-1]
    asked = _ASKED.match(question + "?")
    match record.get("kind"):
        case "first" | "required":
            return inside[0]
        case "last":
            return inside[-1]
        case "next" | "default":
            at = inside.index(asked.group(1)) if asked and asked.group(1) in inside else len(inside)
            return inside[at + 2] if at + 2 < len(inside) else inside[-1]
        case "args" | "keyword_only":
            return "yes" if "*" in inside else "no"
        case "kwargs":
            return "yes" if "**" in inside else "no"
        case "count" | "optional_count":
            return "1"
        case "optional":
            return inside[0] if "=" in inside else "none"
        case _:
            return ""


def _most_common(answers: Counter[str]) -> str:
    return min(answers, key=lambda answer: (-answers[answer], answer), default="")
