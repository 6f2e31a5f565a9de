"""The rules of retraining as ``params.yaml`` has them, checked together with everything else in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core import parameters_file
from core.errors import InputProblem
from flows.pipeline import parameters
from flows.retraining.parameters import RetrainParameters


def load(root: Path) -> tuple[dict[str, Any], RetrainParameters]:
    """The content of ``params.yaml``, and its section ``retrain``.

    Raises:
        InputProblem: every problem of the whole file, what ``retrain.parameters`` would make of it included.
    """
    values = parameters.load(root)
    if problems := parameters.problems_in(values):
        raise InputProblem(problems)
    rules = RetrainParameters.model_validate(values.get("retrain") or {})
    if problems := parameters.problems_in(parameters_file.apply(values, rules.parameters)):
        raise InputProblem([f"with retrain.parameters: {problem}" for problem in problems])
    return values, rules
