"""What a model got for every single item: ``items.jsonl`` in the report's folder, one row an item and metric.

It is what a paired comparison of two models reads: rows of equal ``task``, ``metric`` and ``item`` are the same
question to both. Columns:

- ``task``: what asked: ``instructions``, ``corpus``, a task of the harness, a suite's task
- ``item``: stable id within the task: the data's own id, or a digest of the question (:func:`identities`); neither the
  other items nor their order change it
- ``metric``: a name under which the registry keeps a metric of this stage
- ``score``: of the item; the metric's value is ``sum(weight * score) / sum(weight)`` over its rows, so ``score`` has
  the unit and the direction of the metric
- ``answer``, ``reference``: as texts, null where there is none (a loss has no answer)
- ``question``: as the model saw it, null where it is a document
- ``group``: the cluster for standard errors
- ``weight``: 1, or what a ratio divides by (bytes of a document, tokens of an answer)

A metric that is no such mean (BLEU, perplexity) has no rows.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.errors import InputProblem
from core.files import write_text

FILE = "items.jsonl"


@dataclass(frozen=True)
class Item:
    """One row; the columns are explained above."""

    task: str
    item: str
    metric: str
    score: float
    answer: str | None
    reference: str | None
    question: str | None
    group: str
    weight: float = 1.0


def identities(questions: Iterable[str]) -> list[str]:
    """An id for each question: a digest of its text, with a number where the same text comes again."""
    seen: Counter[str] = Counter()
    found = []
    for question in questions:
        digest = hashlib.sha256(question.encode()).hexdigest()[:16]
        found.append(f"{digest}-{seen[digest]}" if seen[digest] else digest)
        seen[digest] += 1
    return found


def write(folder: Path, items: Sequence[Item]) -> None:
    """Write ``items`` to the report's folder, in their order."""
    rows = "".join(json.dumps(asdict(item), ensure_ascii=False) + "\n" for item in items)
    write_text(folder / FILE, rows)


def read(folder: Path) -> Iterator[Item]:
    """The items of a report's folder.

    Raises:
        InputProblem: there is no such file (an evaluation of before there were any), or a row is none.
    """
    path = folder / FILE
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield Item(**json.loads(line))
                except (ValueError, TypeError) as error:
                    raise InputProblem(f"{path}, row {number} is no item: {error}") from error
    except FileNotFoundError:
        raise InputProblem(f"{path} is missing: evaluate the model again, this version keeps every item") from None
