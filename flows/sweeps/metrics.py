"""Which stage makes which metric, and which of the two directions is the better one: known before anything runs.

What a stage measured last is in its receipt. The table has what the shipped stages measure, for a workspace in which
nothing ran yet; a test holds it against their code.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.pipeline import report

_ANSWERS = {"accuracy": True, "correct_and_terse": True, "rouge_l": True, "bleu": True, "answer_loss": False}
#: By stage: metric to whether higher is better.
KNOWN: dict[str, dict[str, bool]] = {
    "curate": {"contamination": False},
    "tokenize": {"bytes_per_token": True, "train_bytes_per_token": True},
    "pretrain": {"validation_bits_per_byte": False, "validation_loss": False, "train_loss": False},
    "evaluate": {"bits_per_byte": False, "loss": False, "perplexity": False, **_ANSWERS},
    "classify_finetune": {
        "accuracy": True,
        "macro_f1": True,
        "rarer_class_f1": True,
        "expected_calibration_error": False,
        "validation_accuracy": True,
    },
    "instruct_finetune": _ANSWERS,
    "reward_model": {"accuracy": True, "accuracy_within_style": True},
    "preference_tune": {
        "accuracy": True,
        "correct_and_terse": True,
        "development_accuracy": True,
        "development_correct_and_terse": True,
        "preference_accuracy": True,
        "reward": True,
        "reward_win_rate": True,
        "answer_loss": False,
    },
}
#: Metrics of which a stage draws a curve of the same name while it trains: a trial can be pruned by it.
CURVES: dict[str, tuple[str, ...]] = {"pretrain": ("validation_bits_per_byte", "validation_loss")}


@dataclass(frozen=True)
class TrialMetric:
    """A metric of a stage.

    Attributes:
        higher_is_better: which direction is the better one.
        curve: whether the stage logs points of it while it works.
    """

    stage: str
    name: str
    higher_is_better: bool
    curve: bool

    def __str__(self) -> str:
        return f"{self.stage}:{self.name}"


def measured_by(root: Path, stage: str) -> dict[str, bool | None]:
    """The metrics that a stage makes, and their direction; ``None`` where neither is the better one."""
    known: dict[str, bool | None] = dict(KNOWN.get(stage.partition("@")[0], {}))
    for metric in (report.receipt(root, stage) or {}).get("metrics", []):
        known[metric["name"]] = metric.get("higher_is_better")
    return known


def find(root: Path, text: str, stages: Sequence[str], last: Sequence[str]) -> TrialMetric:
    """The metric that ``NAME`` or ``STAGE:NAME`` means.

    Args:
        stages: that the sweep runs, upstream first.
        last: those of ``--until``; empty without it. Where several stages make the metric, theirs is meant.

    Raises:
        ValueError: no stage of the sweep makes it, several do, or neither direction is better; says what there is.
    """
    wanted, _, name = text.rpartition(":")
    makes = {stage: measured_by(root, stage) for stage in stages}
    if wanted and wanted not in makes:
        raise ValueError(f"--metric {text}: the sweep runs no stage {wanted!r}; it runs {', '.join(stages)}")
    found = [stage for stage in ([wanted] if wanted else stages) if name in makes[stage]]
    if not found:
        known = sorted({each for stage in ([wanted] if wanted else stages) for each in makes[stage]})
        near = difflib.get_close_matches(name, known, n=1)
        there = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known) or 'none'}"
        where = wanted or (f"up to {stages[-1]}" if stages else "of the graph")
        raise ValueError(f"--metric {text}: no stage {where} makes this metric; {there}")
    if len(found) > 1 and len(of_last := [stage for stage in found if stage in last]) == 1:
        found = of_last
    if len(found) > 1:
        raise ValueError(f"--metric {text}: made by {', '.join(found)}; write one of them as STAGE:{name}")
    better = makes[found[0]][name]
    if better is None:
        raise ValueError(f"--metric {text}: neither higher nor lower values of it are better; choose another metric")
    return TrialMetric(found[0], name, better, name in CURVES.get(found[0].partition("@")[0], ()))
