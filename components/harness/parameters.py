"""Reads a stage's section of ``params.yaml`` and tells every mistake in it at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from components.contract import StageParameters
from core.errors import InputProblem
from core.parameters_file import flatten

DEFAULT_SEED = 1337


def validate(values: Mapping[str, Any], section: str, model: type[StageParameters]) -> StageParameters:
    """The validated ``section``; a missing section means the defaults.

    Raises:
        InputProblem: every problem in the section, each with its path in ``params.yaml``.
    """
    try:
        given = values.get(section)
        return model.model_validate({} if given is None else given)
    except ValidationError as error:
        raise InputProblem(explain(error, section, model)) from None


def seed_of(values: Mapping[str, Any]) -> int:
    """The workspace's seed, from 0 to 2**32 - 1.

    Raises:
        InputProblem: it is something else.
    """
    seed = values.get("seed", DEFAULT_SEED)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputProblem(f"params.yaml: seed: must be a whole number from 0 to 4294967295, not {seed!r}")
    return seed


def explain(error: ValidationError, section: str, model: type[BaseModel]) -> list[str]:
    """A pydantic error as one line a problem: path, what is wrong, what was given, what is near it."""
    lines = []
    for problem in error.errors():
        path = ".".join([section, *(str(part) for part in problem["loc"])]).strip(".")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown parameter"
            near = difflib.get_close_matches(str(problem["loc"][-1]), _names(model), n=1)
            message += f"; did you mean {near[0]!r}?" if near else ""
        elif problem["type"] != "missing" and not isinstance(problem["input"], Mapping | list | BaseModel):
            message += f" (it is {problem['input']!r})"
        lines.append(f"params.yaml: {path}: {message}")
    return lines


def non_default(parameters: BaseModel) -> dict[str, Any]:
    """The values that differ from their defaults, by dotted path."""
    try:
        defaults = flatten(type(parameters)().model_dump(mode="json"))
    except ValidationError:
        defaults = {}
    values = flatten(parameters.model_dump(mode="json"))
    return {path: value for path, value in values.items() if path not in defaults or defaults[path] != value}


def _names(model: type[BaseModel]) -> list[str]:
    names = list(model.model_fields)
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _names(field.annotation)
    return names
