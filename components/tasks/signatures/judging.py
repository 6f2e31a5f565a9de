"""Answers to signature questions: right or wrong, what can be said without reading, and plausible wrong ones.

What counts as the same answer (``normalise``):

* white space at the ends and doubled inside, backticks around a name, and one full stop at the end do not matter;
* ``yes``, ``no`` and ``none`` (an empty list) may be written with any capitals; names and defaults may not, and a
  default of ``None`` is not the list ``none``;
* the names of a list (kinds ``optional`` and ``required``) may come in any order, separated by commas.

*Terse* is the answer and nothing else. *Chatty* is the answer after a lead-in such as ``The answer is``. Anything
else around the answer makes it wrong: a model that names every parameter must not be right by accident.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from components.tasks.contract import Judgement

_LEAD_IN = re.compile(r"(?:the answer is|the answer:|answer:|it is|it's)\s+", re.IGNORECASE)
_LISTS = frozenset({"optional", "required"})
_ANY_CAPITALS = frozenset({"yes", "no"})
_ASKED = re.compile(r"^(?:Is|Which parameter comes after|What is the default of) (\S+?)(?:\?| keyword-only\?)")
_PUNCTUATION = frozenset({",", "=", "*", "**", "/", "(", ")"})


def judge(record: Mapping[str, Any], answer: str) -> Judgement:
    """Judge ``answer`` to the question of ``record``, which has a reference."""
    lead_in = _LEAD_IN.match(answer.strip())
    said = answer.strip()[lead_in.end() :] if lead_in else answer
    reference, kind = record["reference"], record.get("kind")
    # The stop is tried on and off: the default `...` ends in one that belongs to it.
    wanted = normalise(reference, kind)
    correct = wanted in (normalise(said, kind), normalise(said.rstrip().removesuffix("."), kind))
    terse = lead_in is None
    return Judgement(correct, terse, (2 if terse else 1) if correct else 0)


def normalise(answer: str, kind: str | None) -> str:
    """The form in which two answers of one kind are compared."""
    text = " ".join(answer.split())
    if len(text) > 1 and text[0] == text[-1] == "`":
        text = text[1:-1].strip()
    if text.lower() in _ANY_CAPITALS or (kind in _LISTS and text.lower() == "none"):
        return text.lower()
    if kind in _LISTS:
        return ", ".join(sorted(name.strip() for name in text.split(",")))
    return text


def rule_answer(record: Mapping[str, Any]) -> str:
    """One look at a fixed place of the prompt, whatever stands there: no counting, no keeping track of defaults.

    ``first`` is the word after ``(``, ``last`` the word before ``)``, ``next`` the second word after the name asked
    about, ``default`` the same; yes/no kinds look for their star; lists answer with the first name; counts with 1.
    Empty for a prompt that is no signature question.
    """
    question, found, signature = str(record["prompt"]).partition("? def ")
    words = signature.split()
    if not found or len(words) < 3 or words[1] != "(" or words[-1] != ")":
        return ""
    inside: list[str] = words[2:-1]
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


def wrong_answers(record: Mapping[str, Any], same_kind: Counter[str], most: int) -> list[str]:
    """Candidates for ``most`` wrong answers, from the signature in the question where that can be.

    Other names for a name, other defaults for a default, other lists for a list. Where the answer is a number, a yes or
    no, or nothing of the question, the commonest right answers to other questions of that kind.
    """
    reference = record["reference"]
    names, defaults = _signature(record["prompt"])
    if record["kind"] in ("optional", "required"):
        return [*names, "none", *(", ".join(names[:end]) for end in range(2, len(names) + 1))]
    if reference in defaults:
        others = [default for default in defaults if default != reference]
        return others if len(others) >= most else [*others, *_commonest(same_kind)]
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
