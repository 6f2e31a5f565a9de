"""Text that people wrote, or that a database holds: bounded where it comes in, harmless where it goes out."""

from __future__ import annotations

import re

REASON_LIMIT = 2000  # characters of a reason that is recorded with a decision
# Signs that act on a terminal or reorder what is read: control characters but newline and tab, marks of direction and
# of lines (Unicode, UAX 9), and half characters, which no file can hold.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff" + "\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with such signs spelled out, as ``\\x1b``: whatever it holds, a terminal only shows it."""
    return _ACTING.sub(lambda found: ascii(found[0])[1:-1], text)


def problems(what: str, text: str, limit: int) -> list[str]:
    """Why a text cannot be recorded; ``what`` names it, ``limit`` is in characters."""
    found = []
    if len(text) > limit:
        found.append(f"{what} has {len(text):,} characters; at most {limit:,} are recorded, so shorten it")
    if acting := _ACTING.search(text):
        sign = ascii(acting[0])[1:-1]
        found.append(f"{what} holds the control character {sign} at position {acting.start() + 1}; leave it out")
    return found
