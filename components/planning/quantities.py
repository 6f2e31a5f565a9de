"""Numbers as people write and read them: ``140B``, ``1.5T``, ``2M``; bytes, FLOPs and durations."""

from __future__ import annotations

import re

_FACTORS = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_NUMBER = re.compile(r"(\d[\d_]*(?:\.\d+)?(?:e\+?\d+)?)\s*([kmbgt]?)", re.IGNORECASE)


def parse_count(text: str) -> int:
    """A whole number of things from ``140B``, ``1.5T``, ``2M``, ``300k``, ``1e9`` or ``1_000``.

    Raises:
        ValueError: it is none of these, or not above 0; the message says what would do.
    """
    match = _NUMBER.fullmatch(text.strip())
    value = round(float(match[1].replace("_", "")) * _FACTORS[match[2].lower()]) if match else 0
    if value < 1:
        raise ValueError(f"{text!r} is no number above 0; write it like 140B, 1.5T, 2M or 1000000")
    return value


def parse_positive(text: str, most: float = float("inf")) -> float:
    """A number above 0 and at most ``most``.

    Raises:
        ValueError: it is not; the message says the bounds.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= most:
        raise ValueError(f"{text!r} is no number above 0" + (f" and at most {most:g}" if most < float("inf") else ""))
    return value
