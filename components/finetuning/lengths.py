"""``seq_length: auto``: the tokens of the longest example, chosen from the examples and the model's context.

A step's memory is that of its longest example, which is often an outlier. The rule: the smallest multiple of 64 that
holds 99 % of the examples whole, at most the model's context; where nothing may be left out (``too_long: fail``), one
that holds all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from components.contract import Context

_SHARE = 0.99
_MULTIPLE = 64


def settle(context: Context, limit: int, lengths: Callable[[], Sequence[int]]) -> int:
    """``limit``, or what is chosen in its place where the parameters say ``auto``, which then goes into the receipt.

    Args:
        limit: most tokens of an example by the parameters and the model.
        lengths: of the examples, in tokens; asked for where one is to be chosen alone.
    """
    if context.parameters.seq_length != "auto":
        return limit
    found = lengths()
    everything = getattr(context.parameters, "too_long", "truncate") == "fail"
    value = choose(found, limit, everything=everything)
    rule = f"the smallest multiple of {_MULTIPLE} that holds {'all' if everything else f'{_SHARE:.0%}'} of the"
    longer = sum(length > value for length in found)
    context.environment["seq_length"] = (
        f"{value} ({rule} {len(found):,} examples, at most the {limit:,} tokens that the model takes; {longer:,} are "
        f"longer, the longest has {max(found):,})"
    )
    return value


def choose(lengths: Sequence[int], limit: int, *, everything: bool) -> int:
    """The tokens that the rule gives for examples of these ``lengths`` and a context of ``limit`` tokens."""
    kept = len(lengths) if everything else math.ceil(_SHARE * len(lengths))
    return min(-(-sorted(lengths)[kept - 1] // _MULTIPLE) * _MULTIPLE, limit)
