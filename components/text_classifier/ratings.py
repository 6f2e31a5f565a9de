"""Good and bad examples by a language model's ratings of texts, as for FineWeb-Edu (Penedo et al. 2024, section 4).

The model gives each text 0 to 5 points. What it said is kept by the digest of model, prompt and text, so that nothing
is asked for twice; a server that is down, slow or talks nonsense is asked a bounded number of times, and what then has
no rating is counted.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.evaluate.judge.parameters import JudgeParameters
from components.evaluate.judge.prompts import Prompt
from components.evaluate.judge.verdicts import Case, judging
from core.errors import InputProblem

FOLDER = Path(__file__).parent / "prompts"
EXCERPT = 4000  # characters of a text that the model sees
LARGEST_PROMPT = 20_000  # bytes
_PLACE = re.compile(r"\{([a-z_0-9]+)\}")


@dataclass(frozen=True)
class Rated:
    """Texts by their ratings, and what the manifest says of these."""

    good: list[str]
    bad: list[str]
    about: dict[str, Any]


def prompt(path: Path | None) -> Prompt:
    """The prompt in a file, or that for educational value.

    Raises:
        InputProblem: it cannot be read, or does not ask for a rating of ``{text}``.
    """
    name = str(path) if path else "educational-value.v1"
    try:
        with open(path or FOLDER / f"{name}.txt", "rb") as file:
            text = file.read(LARGEST_PROMPT + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputProblem(f"--prompt {name}: cannot be read ({error})") from None
    problems = []
    if len(text) > LARGEST_PROMPT:
        problems.append(f"--prompt {name}: is longer than {LARGEST_PROMPT:,} bytes")
    if set(_PLACE.findall(text)) != {"text"}:
        problems.append(f"--prompt {name}: must hold {{text}}, where the text goes, and no other name in braces")
    if "[[" not in text:
        problems.append(f"--prompt {name}: must ask for points from 0 to 5 in double brackets, such as [[3]]")
    if problems:
        raise InputProblem(problems)
    return Prompt(name, "You rate texts. Follow the instructions, and end with the points.", text, 0, 5)


def rate(
    texts: Sequence[str],
    judge: JudgeParameters,
    asking: Prompt,
    good_from: int,
    kept: Path,
    advance: Callable[[], None] = lambda: None,
) -> Rated:
    """Have every text rated; those with ``good_from`` points or more are the good ones.

    Args:
        kept: folder of the ratings.
        advance: called after each.

    Raises:
        JudgeFailed: the model cannot be reached, or stopped answering; what it said is kept.
        InputProblem: too many of its answers give no points.
    """
    kept.mkdir(parents=True, exist_ok=True)
    with judging(judge, kept, "ratings") as asked:
        cases = [Case(asking, {"text": text[:EXCERPT]}) for text in texts]
        values = [ruling.value for ruling in asked.verdicts(cases, advance)]
        tally, identity = asked.tally, asked.identity
    if tally.judged < judge.min_judged * len(texts):
        reason, count = tally.failures.most_common(1)[0]
        raise InputProblem(
            f"{judge.model} at {judge.endpoint} gave a rating to {tally.judged} of {len(texts)} texts; {count} times: "
            f"{reason}. Use another model or prompt; what it said is kept"
        )
    points = [(text, float(value)) for text, value in zip(texts, values, strict=True) if value is not None]
    counts = Counter(f"{value:g}" for _, value in points)
    about = {
        "model": identity,
        "answered_as": sorted(tally.models),
        "prompt": {"name": asking.name, "sha256": hashlib.sha256(asking.user.encode()).hexdigest()},
        "good_from": good_from,
        "ratings": dict(sorted(counts.items())),
        "failures": dict(sorted(tally.failures.items())),
    }
    good = [text for text, value in points if value >= good_from]
    return Rated(good, [text for text, value in points if value < good_from], about)
