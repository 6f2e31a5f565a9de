"""What answering without reading scores: the bar that a trained model has to clear."""

from __future__ import annotations

from collections.abc import Sequence

from components.alignment.records import Record
from components.alignment.scoring import Scores, score
from components.signature_baselines import majority_answers, rule_answers


def baselines(training: Sequence[Record], records: Sequence[Record]) -> dict[str, Scores]:
    """Scores of answering without reading: the commonest answer of the kind, and fixed places of a signature."""
    majority = majority_answers(training)
    given = {
        "majority": [[majority(record)] for record in records],
        "simple_rules": [[rule_answers(record)] for record in records],
    }
    if not any(answer for [answer] in given["simple_rules"]):
        del given["simple_rules"]  # no signature questions
    return {name: score(records, answers) for name, answers in given.items()}
