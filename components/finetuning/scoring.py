"""Answers judged by the verifier: shares of right and of right and terse answers, overall and by kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.finetuning.records import Record
from components.statistics import clustered_stderr
from components.tasks import has_verifier, judge


@dataclass(frozen=True)
class Score:
    """A mean over observations; its standard error is clustered by the records' group.

    Attributes:
        value: the mean, for shares between 0 and 1.
        stderr: None with fewer than two groups.
        n: observations.
    """

    value: float
    stderr: float | None
    n: int


@dataclass(frozen=True)
class Scores:
    """Shares of answers that are right, and right and terse; with several answers a question, means over them."""

    correct: Score
    terse: Score
    by_kind: dict[str, tuple[Score, Score]]


def checkable(records: Sequence[Record]) -> list[Record]:
    """The records whose answers can be judged."""
    return [record for record in records if has_verifier(record)]


def score(records: Sequence[Record], answers: Sequence[Sequence[str]]) -> Scores:
    """Judge every answer; ``answers[i]`` are those to ``records[i]``."""
    correct, terse, groups, kinds = [], [], [], []
    for record, given in zip(records, answers, strict=True):
        ranks = [judge(record, answer).rank for answer in given]
        correct.append(float(np.mean([rank >= 1 for rank in ranks])))
        terse.append(float(np.mean([rank == 2 for rank in ranks])))
        groups.append(record["group"])
        kinds.append(record["kind"])
    by_kind = {}
    for kind in sorted(set(kinds)):
        chosen = [index for index, other in enumerate(kinds) if other == kind]
        by_kind[kind] = (_score(correct, groups, chosen), _score(terse, groups, chosen))
    everything = range(len(groups))
    return Scores(_score(correct, groups, everything), _score(terse, groups, everything), by_kind)


def mean_score(values: Sequence[float], groups: Sequence[str]) -> Score:
    """Mean of ``values`` with its clustered standard error."""
    return Score(float(np.mean(values)), clustered_stderr(values, groups), len(values))


def _score(values: Sequence[float], groups: Sequence[str], chosen: Sequence[int]) -> Score:
    return mean_score([values[index] for index in chosen], [groups[index] for index in chosen])
