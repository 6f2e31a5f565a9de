"""What a sweep varies: texts ``PATH=VALUES`` as lists of choices and ranges of numbers.

``pretrain.learning_rate=0.001,0.003``  choices, each as YAML has it
``pretrain.seed=1..3``                  whole numbers, both ends included; ``16..64:16`` in steps
``pretrain.learning_rate=1e-4..1e-2:log``  numbers between; ``:log`` draws their logarithms evenly
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml.error import YAMLError

from core import bounded

LARGEST_GRID = 1000
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\.\.({_NUMBER})(?::(log|{_NUMBER}))?\s*")
_WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Choices:
    """A parameter by its path, and the values that it may take, in the order given."""

    path: str
    values: tuple[Any, ...]

    @property
    def text(self) -> str:
        return ", ".join(shown(value) for value in self.values)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values to be validated."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A parameter by its path, and the numbers from ``low`` to ``high`` that it may take, both included.

    Attributes:
        step: between two numbers; ``None``: any number between.
        log: drawn evenly by their logarithms.
    """

    path: str
    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def text(self) -> str:
        how = ":log" if self.log else f":{self.step:g}" if self.step not in (None, 1) else ""
        return f"{self.low:g}..{self.high:g}{how}"

    @property
    def ends(self) -> tuple[Any, ...]:
        return (self.low, self.high)

    def points(self) -> tuple[Any, ...] | None:
        """Every number of the range; ``None`` where they cannot be counted."""
        if self.step is None:
            return None
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        if count > LARGEST_GRID:
            return None
        values = (self.low + number * self.step for number in range(count))
        return tuple(values) if self.whole else tuple(float(f"{value:.12g}") for value in values)


Dimension = Choices | Range


def parse(texts: Iterable[str]) -> tuple[list[Dimension], list[str]]:
    """(what the texts vary, every problem in them)."""
    found: list[Dimension] = []
    problems: list[str] = []
    for text in texts:
        path, sign, values = (part.strip() for part in text.partition("="))
        if not sign or not values or any(not part for part in path.split(".")):
            problems.append(f"--set {text}: write it as PATH=VALUES, such as --set pretrain.learning_rate=0.001,0.003")
        elif any(path == other.path for other in found):
            problems.append(f"--set {text}: {path} is given twice; write all of its values in one list")
        else:
            try:
                found.append(_range(path, values) or _choices(path, values))
            except ValueError as error:
                problems.append(f"--set {text}: {error}")
    for one, other in itertools.permutations(found, 2):
        if other.path.startswith(f"{one.path}."):
            problems.append(f"--set {other.path}: lies within {one.path}, which is varied too")
    return found, problems


def _choices(path: str, text: str) -> Choices:
    try:
        values = bounded.yaml(f"[{text}]")
    except YAMLError as error:
        raise ValueError(f"the values are not readable as YAML: {' '.join(str(error).split())}") from None
    keys = [json.dumps(value, sort_keys=True, default=str) for value in values]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"{', '.join(twice)} is given twice")
    return Choices(path, tuple(values))


def _range(path: str, text: str) -> Range | None:
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    low, high = _number(match[1]), _number(match[2])
    if low >= high:
        raise ValueError(f"the range must begin below its end, and {low:g} is not below {high:g}")
    if match[3] == "log":
        if low <= 0:
            raise ValueError(f"logarithms need numbers above 0, and the range begins with {low:g}")
        return Range(path, low, high, log=True)
    whole = isinstance(low, int) and isinstance(high, int)
    step: float | None = 1 if whole else None
    if match[3] is not None:
        step = given = _number(match[3])
        if given <= 0 or (whole and not isinstance(given, int)):
            raise ValueError(f"the step {match[3]} must be a {'whole ' if whole else ''}number above 0")
    return Range(path, low, high, step)


def _number(text: str) -> int | float:
    return int(text) if _WHOLE.fullmatch(text) else float(text)


def grid(dimensions: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Every combination, the last dimension changing fastest.

    Raises:
        ValueError: a range has no end of numbers, or there are too many combinations.
    """
    axes, problems = [], []
    for each in dimensions:
        points = each.values if isinstance(each, Choices) else each.points()
        if points is None:
            problems.append(
                f"--set {each.path}={each.text}: a grid needs numbers that can be counted: list them, add a step "
                f"({each.low:g}..{each.high:g}:STEP), or take --sampler random or tpe"
            )
        else:
            axes.append([(each.path, value) for value in points])
    if problems:
        raise ValueError("\n".join(problems))
    if (count := math.prod(len(axis) for axis in axes)) > LARGEST_GRID:
        raise ValueError(
            f"--set: the grid has {count:,} combinations, and at most {LARGEST_GRID:,} are run; list fewer values, or "
            "take --sampler random or tpe with --trials"
        )
    return [dict(combination) for combination in itertools.product(*axes)]


def corners(dimensions: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Combinations in which each value to be validated occurs once; the other parameters have their first one."""
    first = {each.path: each.ends[0] for each in dimensions}
    return [first, *({**first, each.path: value} for each in dimensions for value in each.ends[1:])]


def names(dimensions: Iterable[Dimension]) -> dict[str, str]:
    """A short name of each varied parameter, by path: its last part, where no other one has it too."""
    paths = [each.path for each in dimensions]
    last = {path: path.rpartition(".")[2] for path in paths}
    return {path: name if list(last.values()).count(name) == 1 else path for path, name in last.items()}


def is_seed(path: str) -> bool:
    """Whether the parameter is a seed: trials that differ in it alone repeat one another."""
    return path.rpartition(".")[2] == "seed"


def varied(dimensions: Iterable[Dimension]) -> list[Dimension]:
    """Those with more than one value."""
    return [each for each in dimensions if len(each.ends) > 1]


def shown(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def label(values: Mapping[str, Any], short: Mapping[str, str]) -> str:
    """What is special about a trial: ``learning_rate=0.003 seed=1``."""
    return " ".join(f"{short[path]}={shown(value)}" for path, value in values.items() if path in short)
