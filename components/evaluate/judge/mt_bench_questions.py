"""MT-Bench's questions: the public file as it is, and everything that is wrong with one that is not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SHOWN = 10


@dataclass(frozen=True)
class TwoTurns:
    """A question of MT-Bench; ``reference`` has an answer for each turn, empty where there is none."""

    id: str
    category: str
    turns: tuple[str, str]
    reference: tuple[str, str]


@dataclass
class QuestionFile:
    """What a file of questions holds, and what is wrong with it."""

    questions: list[TwoTurns] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    sha256: str = ""


def read_questions(path: Path, shown: str) -> QuestionFile:
    """The questions in the file at ``path``, which messages call ``shown``."""
    found, name = QuestionFile(), f"evaluate.judge.mt_bench: {shown}"
    try:
        content = path.read_bytes()
    except OSError as error:
        found.problems.append(f"{name} cannot be read ({error.strerror}); give MT-Bench's question.jsonl")
        return found
    found.sha256 = hashlib.sha256(content).hexdigest()
    for number, line in enumerate(content.decode("utf-8", "replace").split("\n"), 1):
        if line.strip():
            try:
                found.questions.append(_question(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError):
                found.problems.append(f"{name}, row {number}: needs question_id, category and two turns (texts)")
    if len(found.problems) > _SHOWN:
        found.problems[_SHOWN:] = [f"{name}: {len(found.problems) - _SHOWN} more rows like these"]
    ids = [question.id for question in found.questions]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        found.problems.append(f"{name}: question_id {', '.join(twice[:_SHOWN])} comes more than once")
    if not ids and not found.problems:
        found.problems.append(f"{name} has no questions")
    return found


def _question(row: dict[str, Any]) -> TwoTurns:
    first, second = row["turns"]
    reference = [text if isinstance(text, str) else "" for text in row.get("reference") or ()][:2]
    reference += [""] * (2 - len(reference))
    if not (isinstance(first, str) and first.strip() and isinstance(second, str) and second.strip()):
        raise ValueError("turns")
    return TwoTurns(str(row["question_id"]), str(row["category"]), (first, second), (reference[0], reference[1]))
