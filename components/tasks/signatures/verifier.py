"""Checks an answer to a closed question: is it right, and is it terse?

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
from collections.abc import Mapping
from dataclasses import dataclass

_LEAD_IN = re.compile(r"(?:the answer is|the answer:|answer:|it is|it's)\s+", re.IGNORECASE)
_LISTS = frozenset({"optional", "required"})
_ANY_CAPITALS = frozenset({"yes", "no"})


@dataclass(frozen=True)
class Judgement:
    """``rank``: 2 right and terse, 1 right and chatty, 0 wrong. ``terse`` says how it is worded, right or wrong."""

    correct: bool
    terse: bool
    rank: int


def has_verifier(record: Mapping) -> bool:
    """True if ``judge`` can tell right from wrong for this record."""
    return record.get("verifier") == "closed_answer" and record.get("reference") is not None


def judge(record: Mapping, answer: str) -> Judgement:
    """Judge ``answer`` to the question of ``record``. Raises ValueError if the record has no verifier."""
    if not has_verifier(record):
        raise ValueError("this record has no verifier: judge it by a reward model instead")
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
