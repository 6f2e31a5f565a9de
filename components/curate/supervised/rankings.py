"""Rows with several answers to one question: scored (UltraFeedback's form), ranked, or given best first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.curate.files.tables import text
from components.curate.supervised.messages import parsed

ANSWERS = ("ranked", "responses", "completions", "answers")
"""Columns that hold the answers; those of ``ranked`` are in their order."""
SCORES = ("scores", "ranks")
"""Columns that hold a number for each answer: a higher score, or a lower rank, is better."""

_TEXTS = ("response", "completion", "answer", "text", "content")
_ITEM_SCORES = ("overall_score", "score", "rating")


def is_ranking(row: Mapping[str, Any]) -> bool:
    """True for a row with a list of answers of which something says how good they are."""
    name = _column(row)
    if name is None:
        return False
    first = parsed(row[name])[0]
    return (
        name == "ranked"
        or any(isinstance(parsed(row.get(scores)), list) for scores in SCORES)
        or (isinstance(first, dict) and any(key in first for key in (*_ITEM_SCORES, "rank")))
    )


def best_first(row: Mapping[str, Any]) -> list[str]:
    """The texts of the answers, each better than the next: of answers of one score, or of equal texts, the first.

    Raises:
        ValueError: with the reason why they cannot be put in order.
    """
    name = _column(row)
    assert name is not None
    items = parsed(row[name])
    texts = [_text(item, name, number) for number, item in enumerate(items, start=1)]
    if name == "ranked":
        return _two_or_more(list(dict.fromkeys(texts)))
    values = _values(row, items)
    if len(values) != len(texts):
        raise ValueError(f"has {len(texts)} answers in {name!r} and {len(values)} scores")
    found: dict[float, str] = {}
    for value, answer in sorted(zip(values, texts, strict=True), key=lambda pair: -pair[0]):
        if value not in found and answer not in found.values():
            found[value] = answer
    return _two_or_more(list(found.values()))


def _column(row: Mapping[str, Any]) -> str | None:
    for name in ANSWERS:
        given = parsed(row.get(name))
        if isinstance(given, list) and given:
            return name
    return None


def _values(row: Mapping[str, Any], items: list[Any]) -> list[float]:
    """A number for each answer, higher is better."""
    for name in SCORES:
        if isinstance(given := parsed(row.get(name)), list):
            return [_number(value, name) * (-1 if name == "ranks" else 1) for value in given]
    values = []
    for item in items:
        key = next(
            (key for key in (*_ITEM_SCORES, "rank") if isinstance(item, dict) and item.get(key) is not None), None
        )
        if key is None:
            raise ValueError(f"an answer has none of {', '.join(_ITEM_SCORES)}, rank")
        values.append(_number(item[key], key) * (-1 if key == "rank" else 1))
    return values


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if isinstance(value, bool) or number != number:
        raise ValueError(f"{name!r} must be numbers, not {value!r}")
    return number


def _text(item: Any, name: str, number: int) -> str:
    if isinstance(item, list) and item and isinstance(item[-1], dict):  # a conversation whose end is the answer
        item = item[-1]
    if isinstance(item, dict):
        item = next((item[key] for key in _TEXTS if isinstance(item.get(key), str)), None)
    what = f"answer {number} of {name}"
    return text({what: item}, what)


def _two_or_more(texts: list[str]) -> list[str]:
    if len(texts) < 2:
        raise ValueError("none of its answers is better than another")
    return texts
