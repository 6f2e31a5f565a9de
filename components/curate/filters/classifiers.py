"""Classifiers that the user has trained judge the documents that pass the quality rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.curate.filters.quality import Finding
from components.curate.ledger import Ledger
from components.text_classifier.features import extract
from components.text_classifier.model import TextClassifier
from components.text_classifier.parameters import ClassifierParameters
from core.errors import InputProblem

RULE = "classifier_"  # and the name
BINS = 20  # of the histogram
_BATCH = 64  # texts whose features are in memory at a time


@dataclass(frozen=True)
class Classifier:
    """One of ``curate.classifiers`` with its model."""

    parameters: ClassifierParameters
    model: TextClassifier

    @property
    def threshold(self) -> float:
        return self.model.threshold if self.parameters.threshold is None else self.parameters.threshold

    def finding(self, score: float) -> Finding | None:
        """The rule that a score breaks."""
        drops = {"below": score < self.threshold, "above": score >= self.threshold, "none": False}
        if not drops[self.parameters.drop]:
            return None
        relation = "under" if self.parameters.drop == "below" else "at least"
        return f"{RULE}{self.parameters.name}", f"score {score:.3f}, {relation} {self.threshold:.3f}"


def load(asked: Sequence[ClassifierParameters], workspace: Path) -> tuple[Classifier, ...]:
    """The classifiers with their models. Raises InputProblem with every file that cannot be used."""
    found, problems = [], []
    for each in asked:
        try:
            found.append(Classifier(each, TextClassifier.read(workspace / each.model, each.model)))
        except InputProblem as problem:
            problems += [f"curate.classifiers: {line}" for line in problem.problems]
    if problems:
        raise InputProblem(problems)
    return tuple(found)


def judge(
    texts: Sequence[str], findings: list[Finding | None], classifiers: Sequence[Classifier], ledger: Ledger
) -> dict[str, list[float | None]]:
    """The scores of the texts that break no rule yet, by name of the classifier; ``findings`` gets what these break."""
    left = [place for place, finding in enumerate(findings) if finding is None] if classifiers else []
    scores: dict[str, list[float | None]] = {each.parameters.name: [None] * len(texts) for each in classifiers}
    for begin in range(0, len(left), _BATCH):
        places = left[begin : begin + _BATCH]
        features = extract([texts[place] for place in places])
        for each in classifiers:
            name = each.parameters.name
            for place, score in zip(places, each.model.of(features), strict=True):
                scores[name][place] = score
                ledger.scores[f"{name} {min(int(score * BINS), BINS - 1):02d}"] += 1
                findings[place] = findings[place] or each.finding(score)
    return scores


def report(classifiers: Sequence[Classifier], scores: Counter[str], dropped: Counter[str]) -> list[dict[str, Any]]:
    """For the data card: what each classifier is, the histogram of its scores, and what it dropped."""
    found = []
    for each in classifiers:
        name = each.parameters.name
        histogram = [scores[f"{name} {place:02d}"] for place in range(BINS)]
        found.append(
            {
                "name": name,
                "model": each.parameters.model,
                "digest": each.model.digest,
                "threshold": each.threshold,
                "drop": each.parameters.drop,
                "scored": sum(histogram),
                "dropped": dropped[f"{RULE}{name}"],
                "histogram": histogram,
                "metrics": each.model.measured,
            }
        )
    return found
