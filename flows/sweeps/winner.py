"""Which setting of a sweep is best, and writing it into ``params.yaml``."""

from __future__ import annotations

import difflib
import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from core import parameters_file
from core.errors import InputProblem
from core.numbers import measured
from flows.pipeline import parameters
from flows.sweeps import space
from flows.sweeps.space import Choices
from flows.sweeps.study import STDERR, Study


@dataclass(frozen=True)
class Setting:
    """What trials have in common that differ in their seeds alone.

    Attributes:
        values: by path, without seeds.
        trials: numbers of the trials that ended with a value.
        mean: of the metric over them; ``None`` while there is none.
        stderr: of the mean, over the seeds; of a single trial the metric's own.
        whole: every seed was run to its end: only such settings can win.
    """

    values: Mapping[str, Any]
    trials: tuple[int, ...]
    mean: float | None
    stderr: float | None
    whole: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def shown(self) -> str:
        """``1.948 ± 0.012``"""
        if self.mean is None:
            return ""
        return measured(self.mean, self.stderr)


def settings(study: Study) -> list[Setting]:
    """Every setting that was tried, the best first; those that cannot win are last."""
    sweep = study.sweep
    groups: dict[str, tuple[dict[str, Any], list[FrozenTrial]]] = {}
    for trial in study.trials:
        values = {path: value for path, value in study.values(trial).items() if not space.is_seed(path)}
        groups.setdefault(repr(values), (values, []))[1].append(trial)
    repeats = math.prod(
        len(each.values if isinstance(each, Choices) else each.points() or ())
        for each in sweep.dimensions
        if space.is_seed(each.path)
    )
    found = []
    for values, trials in groups.values():
        ended = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        results = [trial.value for trial in ended if trial.value is not None]
        mean = statistics.fmean(results) if results else None
        stderr: float | None = None
        if len(results) > 1:
            stderr = statistics.stdev(results) / math.sqrt(len(results))
        elif ended:
            stderr = ended[0].user_attrs.get(STDERR)
        whole = len(ended) >= repeats and math.isfinite(mean or 0.0)
        found.append(Setting(values, tuple(trial.number for trial in ended), mean, stderr, whole))
    sign = -1 if sweep.metric.higher_is_better else 1
    return sorted(found, key=lambda each: (not each.whole, math.inf if each.mean is None else sign * each.mean))


def winner(study: Study) -> Setting | None:
    """The best setting; ``None`` while there is none whose trials have all ended with a value."""
    best = next(iter(settings(study)), None)
    return best if best is not None and best.whole else None


def apply(root: Path, study: Study) -> tuple[Setting, str]:
    """Write the winner into ``params.yaml``, its comments kept; (the winner, the diff: empty where nothing changed).

    Seeds, and what was the same in all trials, are not written: they are not what was searched for.

    Raises:
        InputProblem: there is no winner yet, or the file would not be valid with it; nothing was changed.
    """
    best = winner(study)
    if best is None:
        raise InputProblem(f"{study.sweep.name}: no setting has a value yet, so there is no winner to be written")
    path = root / "params.yaml"
    values = dict(best.values)
    if problems := parameters.problems_in(parameters_file.apply(parameters.load(root), values), values):
        raise InputProblem(problems)
    before = path.read_text(encoding="utf-8")
    known = parameters_file.flatten(parameters.load(root))
    changed = {name: value for name, value in values.items() if name not in known or known[name] != value}
    if changed:
        parameters_file.write(path, changed)
    after = path.read_text(encoding="utf-8")
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), "params.yaml", "params.yaml", lineterm="", n=1
    )  # fmt: skip
    return best, "\n".join(lines)
