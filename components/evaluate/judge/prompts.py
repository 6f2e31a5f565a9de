"""The judge's prompts: files with a version in their name, filled in with the texts to be judged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "prompts"
_RULE = "===\n"
_PLACE = re.compile(r"\{([a-z_0-9]+)\}")
_SCORE = re.compile(r"\[\[\s*(-?\d+(?:\.\d+)?)\s*\]\]")
_SIDE = re.compile(r"\[\[\s*([ABC])\s*\]\]")


@dataclass(frozen=True)
class Prompt:
    """A prompt. ``name`` ends in its version, such as ``pair.v1``; ``lowest`` is ``None`` where it asks for a side."""

    name: str
    system: str
    user: str
    lowest: int | None
    highest: int | None

    def messages(self, **texts: str) -> list[dict[str, str]]:
        """The messages to the judge. What looks like a place to fill in inside a text stays as it is.

        Raises:
            KeyError: a text is missing.
        """
        filled = _PLACE.sub(lambda match: texts[match[1]], self.user)
        filled = filled.encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair cannot be sent
        return [{"role": "system", "content": self.system}, {"role": "user", "content": filled}]

    def read(self, answer: str) -> float | str | None:
        """The score, or the side ``A``, ``B`` or ``C`` (a tie); ``None`` where the answer gives none that is allowed.

        The last one counts: an explanation before it may quote what it judges.
        """
        if self.lowest is None or self.highest is None:
            sides = _SIDE.findall(answer)
            return sides[-1] if sides else None
        scores = _SCORE.findall(answer)
        score = float(scores[-1]) if scores else None
        return score if score is not None and self.lowest <= score <= self.highest else None

    def fault(self, answer: str) -> str | None:
        """What is wrong with a judge's answer; ``None`` where it can be read."""
        if self.read(answer) is not None:
            return None
        wanted = "[[A]], [[B]] or [[C]]" if self.lowest is None else f"a score from {self.lowest} to {self.highest}"
        return f"the answer does not give {wanted} in double brackets"


@cache
def load(kind: str, *, reference: bool = False, version: int = 1) -> Prompt:
    """The prompt ``score-10``, ``score-100``, ``second-turn-10`` or ``pair``, guided by a reference or not."""
    name = f"{kind}{'-reference' if reference else ''}.v{version}"
    system, _, user = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").partition(_RULE)
    lowest, highest = {"10": (1, 10), "100": (0, 100)}.get(kind.rpartition("-")[2], (None, None))
    return Prompt(name, system.strip(), user.strip(), lowest, highest)
