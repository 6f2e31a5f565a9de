"""A user's own reward function: a Python file of the workspace, run only with the content that the parameters name."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from components.preference_tune.parameters import FunctionReward
from core.errors import InputProblem

RewardFunction = Callable[[Sequence[dict[str, Any]], Sequence[str]], list[float]]
"""Rewards of answers, ``answers[i]`` being one to the question of ``records[i]``."""


def problem(root: Path, reward: FunctionReward) -> str | None:
    """Why the file is not run; None where it may be."""
    try:
        _source(root, reward)
    except InputProblem as refused:
        return str(refused)
    return None


def load(root: Path, reward: FunctionReward) -> RewardFunction:
    """The function ``reward`` of the file, whose results are checked at every call.

    Raises:
        InputProblem: the file may not be run, fails, or has no such function; later, the function fails or gives
            anything but one finite number for each answer.
    """
    where = f"preference_tune.rewards: {reward.path}"
    names: dict[str, Any] = {"__name__": reward.name, "__file__": str(root / reward.path)}
    try:
        exec(compile(_source(root, reward), reward.path, "exec"), names)
    except InputProblem:
        raise
    except Exception as error:
        raise InputProblem(f"{where} cannot be run: {type(error).__name__}: {error}") from error
    given = names.get("reward")
    if not callable(given):
        raise InputProblem(f"{where} has no function `reward(records, answers)`")

    def checked(records: Sequence[dict[str, Any]], answers: Sequence[str]) -> list[float]:
        try:
            found = [float(value) for value in given([dict(record) for record in records], list(answers))]
        except Exception as error:
            raise InputProblem(f"{where}: reward() raised {type(error).__name__}: {error}") from error
        if len(found) != len(answers):
            raise InputProblem(f"{where}: reward() gave {len(found)} numbers for {len(answers)} answers")
        if not all(map(math.isfinite, found)):
            raise InputProblem(f"{where}: reward() gave a number that is not finite")
        return found

    return checked


def _source(root: Path, reward: FunctionReward) -> bytes:
    """The file's bytes, where it lies in the workspace and has the digest that the parameters name."""
    where, path = f"preference_tune.rewards: {reward.path}", (root / reward.path).resolve()
    if not path.is_relative_to(root.resolve()):
        raise InputProblem(f"{where} is outside the workspace; copy it into data/raw")
    if not path.is_file():
        raise InputProblem(f"{where}: there is no such file in the workspace")
    source = path.read_bytes()
    digest = hashlib.sha256(source).hexdigest()
    if digest != reward.sha256:
        raise InputProblem(
            f"{where} is not the file that sha256 names, and is not run; read it, and if it is what you want, set "
            f"sha256 to {digest}"
        )
    return source
