"""Phone numbers in text: patterns find candidates, libphonenumber's tables of all countries decide.

An international number begins with ``+``. A national one counts where a word such as *tel* stands before it, or where
it is written as in North America; it must be valid in one of :data:`REGIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_GAP = r"[ ./()\u00a0-]{0,3}"
# What a number may not follow, and what may not follow it: it would be part of something longer.
_BEFORE, _AFTER = r"(?<![\w+.,-])", r"(?!\w|[.,-]\d)"
_INTERNATIONAL = re.compile(rf"{_BEFORE}\+[1-9](?:{_GAP}\d){{7,14}}{_AFTER}")
_NORTH_AMERICAN = re.compile(
    rf"{_BEFORE}(?:1[ .-])?(?:\([2-9]\d{{2}}\) ?[2-9]\d{{2}}[.-]|[2-9]\d{{2}}([.-])[2-9]\d{{2}}\1)\d{{4}}{_AFTER}"
)
_NATIONAL = re.compile(
    rf"(?<![\w+.,/-])(?:\(?0\d(?:{_GAP}\d){{7,13}}|(?:1 )?[2-9]\d{{2}} [2-9]\d{{2}} \d{{4}}){_AFTER}"
)
_WORD = re.compile(
    r"(?i)(?<![\w\[])(?:tele(?:phone|f(?:on|one|oon|ono|ax))|t[eé]l(?:[eé]phone|[eé]fono)?|tl[fn]|phone|fone?|fax|mobile?|m[oó]vil"
    r"|cell(?:phone|ulare)?|celular|handy|natel|gsm|portable|puh|kom|hp|call|ring|dial|whatsapp|sms)\b[^\d\n]{0,12}$"
)
_BLANK = re.compile("[ \u00a0]")
_CUTS = 3  # ends of a number that are tried: another one may follow it
_NEXT = 6  # characters between a number and another one that belongs to it: "or", "and", a comma
_LEAD = 30  # characters before a number in which the word is looked for
REGIONS = (
    "US", "GB", "DE", "FR", "IT", "AU", "NL", "BE", "CH", "AT", "SE", "FI", "IE", "JP", "IN", "KR", "BR", "ZA", "TR",
    "NZ",
)  # fmt: skip
"""Where a number may be a national one: with a leading 0 (or as in the United States) and many texts."""
_PATTERNS: dict[re.Pattern[str], Sequence[str | None]] = {
    _INTERNATIONAL: (None,), _NORTH_AMERICAN: ("US",), _NATIONAL: REGIONS,
}  # fmt: skip


def find(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of each phone number, in order."""
    following = {pattern: pattern.search(text) for pattern in _PATTERNS}
    end = 0
    while candidates := [(match.start(), pattern, match) for pattern, match in following.items() if match]:
        start, pattern, match = min(candidates, key=lambda each: each[0])
        regions = _PATTERNS[pattern]
        introduced = bool(_WORD.search(text, max(0, start - _LEAD), start)) or (end > 0 and 0 < start - end <= _NEXT)
        size = 0
        if (introduced or regions is not REGIONS) and not _is_decimal(match.group()):
            size = _valid_part(match.group(), regions, whole=not introduced)
        following[pattern] = pattern.search(text, match.end())
        if size:
            end = start + size
            yield start, end
            # What the others have found in it is none, and where it ends another number may begin.
            for other, found in following.items():
                if other is pattern or (found and found.start() < end):
                    following[other] = other.search(text, end)


def _is_decimal(number: str) -> bool:
    """``+1.6180339887``, ``+1234567.89``: a single dot and no other sign."""
    return re.fullmatch(r"\+\d+\.\d+", number) is not None


def _valid_part(number: str, regions: Sequence[str | None], *, whole: bool) -> int:
    """Characters of the longest valid number that this begins with, as far as a blank; 0: none."""
    import phonenumbers

    ends = [len(number), *(match.start() for match in reversed(list(_BLANK.finditer(number))))]
    for end in ends[: 1 if whole else _CUTS]:
        for region in regions:
            try:
                parsed = phonenumbers.parse(number[:end], region)
            except phonenumbers.NumberParseException:
                continue
            if phonenumbers.is_valid_number(parsed):
                return end
    return 0
