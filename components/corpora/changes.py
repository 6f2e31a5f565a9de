"""What differs between two texts, as parts that are marked."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

SAME, REMOVED, ADDED = "", "-", "+"
Part = tuple[str, str]  # text, and one of the three above
_WORD = re.compile(r"\s+|\w+|[^\w\s]")
AROUND = 120  # characters of equal text that are shown beside a change
LONGEST = 2000  # characters of either text that are compared


def changes(before: str, after: str, *, around: int = AROUND, longest: int = LONGEST) -> list[Part]:
    """The parts of both texts in order, equal stretches shortened to what stands beside a change.

    Compared word by word, from the first difference on and ``longest`` characters far: comparing takes time that grows
    with the square of the length.
    """
    start = _common(before, after)
    head, one, other = before[:start], before[start:], after[start:]
    found: list[Part] = [(_shortened(head, around, first=True), SAME)] if head else []
    a, b = _WORD.findall(one[:longest]), _WORD.findall(other[:longest])
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    for index, (kind, i, j, k, end) in enumerate(blocks):
        if kind == "equal":
            last = index == len(blocks) - 1
            found.append((_shortened("".join(a[i:j]), around, last=last), SAME))
            continue
        found += [("".join(a[i:j]), REMOVED)] * (j > i) + [("".join(b[k:end]), ADDED)] * (end > k)
    if len(one) > longest or len(other) > longest:
        found.append((" [...]", SAME))
    return found


def _common(one: str, other: str) -> int:
    """Characters that both begin with, up to the begin of a word."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # by halves: comparing slices is quick
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    while low and (one[low - 1].isalnum() or one[low - 1] == "_"):
        low -= 1
    return low


def _shortened(text: str, around: int, *, first: bool = False, last: bool = False) -> str:
    room = around if first or last else 2 * around
    if len(text) <= room + 20:
        return text
    before = "" if first else text[:around]
    after = "" if last else text[-around:]
    return f"{before} [...] {after}"
