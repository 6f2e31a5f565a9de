"""What answering without reading scores: the bar that a trained model has to clear."""

from __future__ import annotations

from collections.abc import Sequence

from components.finetuning.records import Record
from components.finetuning.scoring import Scores, score
from components.tasks import baseline_answers


def baselines(training: Sequence[Record], records: Sequence[Record]) -> dict[str, Scores]:
    """Scores of answering without reading: the commonest answer of the kind, and fixed places of a signature."""
    given = baseline_answers(training, records)
    return {name: score(records, [[answer] for answer in answers]) for name, answers in given.items()}
