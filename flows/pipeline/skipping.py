"""Stages that a run leaves out (``--skip``), and those that cannot run without them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import components
from components.contract import ArtifactSpec
from core import dvc_lock
from core.errors import InputProblem
from flows.pipeline.graph import Graph


def resolve(graph: Graph, names: Iterable[str]) -> frozenset[str]:
    """The stages that the names mean.

    Raises:
        InputProblem: there are no such stages; every unknown name at once, with what there is.
    """
    found: set[str] = set()
    problems: list[str] = []
    for name in names:
        try:
            found |= set(graph.resolve(name, "--skip"))
        except InputProblem as problem:
            problems += problem.problems
    if problems:
        raise InputProblem(problems)
    return frozenset(found)


def leave_out(root: Path, graph: Graph, stages: list[str], skip: Collection[str]) -> tuple[list[str], list[str]]:
    """What is left of ``stages``, upstream first, and a sentence for what was left out.

    A stage whose input a left-out stage would make runs on what an earlier run made of it. Where there is nothing, it
    is left out too, unless the input is optional: its folder is then made, empty.
    """
    if not skip:
        return stages, []
    lacking = {stage: _lacks(root, stage) for stage in skip}
    kept: list[str] = []
    dropped: dict[str, list[str]] = {}
    for stage in stages:
        if stage in skip:
            continue
        needs = [parent for parent in graph.parents[stage] if lacking.get(parent) and _requires(stage, parent)]
        if needs:
            dropped[stage] = sorted(needs)
            lacking[stage] = _lacks(root, stage)
        else:
            kept.append(stage)
            for path in _optional_inputs(stage):
                (root / path).mkdir(parents=True, exist_ok=True)
    sentence = f"left out: {', '.join(stage for stage in stages if stage in skip)}"
    if dropped:
        reasons = ", ".join(f"{stage} (needs {' and '.join(parents)})" for stage, parents in dropped.items())
        sentence += f"; and what needs their outputs, which no earlier run made: {reasons}"
    return kept, [sentence]


def _lacks(root: Path, stage: str) -> bool:
    """True where an output of the stage is not in the tree."""
    path = root / "dvc.lock"
    stages = dvc_lock.stages_of(path.read_bytes(), "dvc.lock") if path.is_file() else {}
    return stage not in stages or not all((root / out).exists() for out in stages[stage].outs)


def _requires(stage: str, parent: str) -> bool:
    """Whether the stage cannot run without what its parent makes; so it is of stages that are no components."""
    made = {artifact.path for artifact in _artifacts(parent, "outputs")}
    read = [artifact for artifact in _artifacts(stage, "inputs") if artifact.path in made]
    return not read or not all(artifact.optional for artifact in read)


def _optional_inputs(stage: str) -> list[str]:
    return [artifact.path for artifact in _artifacts(stage, "inputs") if artifact.optional]


def _artifacts(stage: str, which: str) -> list[ArtifactSpec]:
    name, _, instance = stage.partition("@")
    if name not in components.STAGES:
        return []
    return [artifact.for_instance(instance or None) for artifact in getattr(components.load(name), which)]
