"""Examples as a model is trained on them: their text, and which of it is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from components.conversations import Encoded

Part = tuple[str, bool]

_LONGEST = 1200  # characters of a part that are shown
_END = 300  # of these, at its end


def parts(tokenizer: Any, ids: Sequence[int], mask: Sequence[int]) -> list[Part]:
    """A conversation's text in parts, each with whether it is learnt; the middle of a long part is left out."""
    found = []
    for learnt, run in groupby(zip(ids, mask, strict=True), key=lambda pair: bool(pair[1])):
        text = tokenizer.decode([token for token, _ in run])
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST - _END]} [... {len(text) - _LONGEST:,} characters ...] {text[-_END:]}"
        found.append((text, learnt))
    return found


def all_parts(tokenizer: Any, encoded: Encoded, places: Sequence[int]) -> list[list[Part]]:
    """The parts of the conversations at ``places``."""
    return [parts(tokenizer, encoded.input_ids[place], encoded.answer_mask[place]) for place in places]
