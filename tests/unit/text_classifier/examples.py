"""Texts of two kinds that differ by some of their words, and overlap in the others."""

from __future__ import annotations

import random

COMMON = "the a of and to in it is that for on with as was at by this have from".split()
GOOD = "theorem evidence chapter explains because example therefore measure result question".split()
BAD = "click subscribe discount cart login banner cookie offer winner free".split()


def texts(kind: str, count: int, seed: int = 0) -> list[str]:
    """Distinct texts; one word in six tells of the kind, and one in twenty of the other kind."""
    own, other = (GOOD, BAD) if kind == "good" else (BAD, GOOD)
    draw = random.Random(f"{kind} {seed}")
    words = lambda: draw.choice(own if (share := draw.random()) < 0.17 else other if share < 0.22 else COMMON)  # noqa: E731
    return [" ".join(words() for _ in range(draw.randint(20, 60))) + f" {kind[0]}{number}." for number in range(count)]
