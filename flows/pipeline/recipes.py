"""Recipes: ``recipes/NAME.yaml`` is an overlay on ``params.yaml`` for one kind of job.

A mapping in it is laid over the one of the same name, value by value; a list, a value and an empty mapping (``{}``)
replace what is there. Its first comment says in a sentence what it is for. Under ``fetch`` it may name public files
that the run brings into ``data/raw`` first (:mod:`flows.pipeline.downloads`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.contract import StageParameters
from components.harness.parameters import validate
from core.errors import InputProblem
from core.parameters_file import flatten, read
from flows.pipeline.downloads import Download

FOLDER = "recipes"
_FETCH = "fetch"


class _Fetch(StageParameters):
    fetch: tuple[Download, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A recipe of the workspace.

    Attributes:
        comments: the lines of its first comment.
    """

    name: str
    comments: tuple[str, ...]

    @property
    def summary(self) -> str:
        return self.comments[0] if self.comments else ""


def recipes(root: Path) -> list[Recipe]:
    """The workspace's recipes, by name."""
    return [Recipe(path.stem, _comments(path)) for path in sorted((root / FOLDER).glob("*.yaml"))]


def overrides(root: Path, name: str) -> dict[str, Any]:
    """What a recipe sets, by dotted path, as :func:`core.parameters_file.apply` takes it.

    Raises:
        InputProblem: there is no recipe of that name, or it cannot be read.
    """
    known = [recipe.name for recipe in recipes(root)]
    if name not in known:
        raise InputProblem(f"--recipe {name}: no such recipe in {FOLDER}/; there are: {', '.join(known) or 'none'}")
    body = read(root / FOLDER / f"{name}.yaml")
    body.pop(_FETCH, None)
    return flatten(body)


def downloads(root: Path, name: str) -> tuple[Download, ...]:
    """The files that a recipe needs, as it names them.

    Raises:
        InputProblem: as :func:`overrides`, or an entry is wrong.
    """
    overrides(root, name)
    body = read(root / FOLDER / f"{name}.yaml")
    try:
        return validate({name: {_FETCH: body.get(_FETCH) or []}}, name, _Fetch).fetch
    except InputProblem as problem:
        prefix = f"params.yaml: {name}."
        raise InputProblem(
            [f"{FOLDER}/{name}.yaml: {line.removeprefix(prefix)}" for line in problem.problems]
        ) from None


def _comments(path: Path) -> tuple[str, ...]:
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return tuple(lines)
