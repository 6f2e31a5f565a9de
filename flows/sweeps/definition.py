"""A sweep as it was asked for: everything that can be refused is refused here, before anything runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from core import bounded, parameters_file
from core.errors import InputProblem, StemmaError
from core.workspace import Workspace
from flows.pipeline import graph, parameters
from flows.pipeline.graph import Graph
from flows.pipeline.prepare import Request, check, problems_of_stages
from flows.sweeps import metrics, space
from flows.sweeps.metrics import TrialMetric
from flows.sweeps.space import Choices, Dimension, Range

Sampler = Literal["grid", "random", "tpe"]
SAMPLERS: tuple[str, ...] = get_args(Sampler)
MOST_PARALLEL = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")


class SweepFailed(StemmaError):
    """No trial of a sweep ended with a value; the message has the last error."""


@dataclass(frozen=True)
class Asked:
    """What the user wants of a sweep; the command's options, or the form's fields.

    Attributes:
        assignments: texts ``PATH=VALUES``.
        metric: ``NAME``, or ``STAGE:NAME``.
        until: last stage of each trial; the one that makes the metric when not given.
        trials: how many; for samplers other than the grid, which runs every combination.
        parallel: trials at once.
        name: of the sweep; made from its definition when not given.
    """

    assignments: tuple[str, ...]
    metric: str
    until: str | None = None
    sampler: str = "grid"
    trials: int | None = None
    prune: bool = False
    parallel: int = 1
    name: str | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep that makes sense.

    Attributes:
        fixed: parameters that are the same in all trials and not as ``params.yaml`` has them, by path.
        trials: how many.
        seed: of the sampler.
        stages: of a trial, upstream first.
        shared: those of them that no varied parameter reaches: all trials have the same result of theirs.
        readers: which stages a varied parameter reaches, by its path.
    """

    name: str
    dimensions: tuple[Dimension, ...]
    fixed: Mapping[str, Any]
    metric: TrialMetric
    until: str
    sampler: Sampler
    trials: int
    prune: bool
    seed: int
    stages: tuple[str, ...]
    shared: tuple[str, ...]
    readers: Mapping[str, tuple[str, ...]]

    @property
    def short(self) -> dict[str, str]:
        """Short names of what is varied, by path."""
        return space.names(self.dimensions)

    def label(self, values: Mapping[str, Any]) -> str:
        """What is special about a trial, in words."""
        return space.label(values, self.short)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it; :meth:`of` reads it."""
        return asdict(self)

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Sweep:
        dimensions = tuple(
            Choices(each["path"], tuple(each["values"])) if "values" in each else Range(**each)
            for each in body["dimensions"]
        )
        tuples = {name: tuple(body[name]) for name in ("stages", "shared")}
        readers = {path: tuple(stages) for path, stages in body["readers"].items()}
        metric = TrialMetric(**body["metric"])
        return cls(**{**body, **tuples, "dimensions": dimensions, "readers": readers, "metric": metric})


def define(workspace: Workspace, asked: Asked) -> Sweep:
    """The sweep that was asked for; changes nothing.

    Raises:
        InputProblem: every problem at once: of the options, of each value that a parameter is to take, of the metric.
    """
    given, problems = space.parse(asked.assignments)
    dimensions = tuple(space.varied(given))
    fixed = {each.path: each.ends[0] for each in given if each not in dimensions}
    problems += _problems_of_options(asked, dimensions, given)
    combinations: list[dict[str, Any]] = []
    if asked.sampler == "grid":
        try:
            combinations = space.grid(dimensions)
        except ValueError as error:
            problems += str(error).splitlines()
    combinations = combinations or space.corners(dimensions)
    try:
        values = parameters.load(workspace.root)
        stages_graph = graph.read(workspace.root)
    except InputProblem as problem:
        raise InputProblem([*problems, *problem.problems]) from None
    stages, last = stages_graph.order, []
    try:
        stages = stages_graph.select(asked.until)
        last = stages_graph.resolve(asked.until, "--until") if asked.until else []
    except InputProblem as problem:
        problems += problem.problems
    metric = None
    try:
        metric = metrics.find(workspace.root, asked.metric, stages, last)
        if asked.until is None:
            stages = stages_graph.select(metric.stage)
        if asked.prune and not metric.curve:
            known = ", ".join(f"{stage}:{name}" for stage, names in metrics.CURVES.items() for name in names)
            problems.append(f"--prune: {metric} has no values while it is made, to prune a trial by; {known} have")
    except ValueError as error:
        problems.append(str(error))
    readers = {path: tuple(_readers(workspace.root, stages_graph, path)) for path in (each.path for each in dimensions)}
    wrong = _problems_of_values(workspace, values, fixed, combinations, set(stages), readers)
    problems += wrong
    for path, found in readers.items():
        if any(line.startswith(f"--set {path}") and "unknown" in line for line in wrong):
            continue
        if not set(stages) & set(found):
            problems.append(f"--set {path}: no stage of the sweep reads it; it runs {', '.join(stages)}")
        elif metric is not None and metric.stage not in stages_graph.descendants(found):
            problems.append(f"--set {path}: {metric} does not depend on it, so all trials would have the same value")
    if problems or metric is None:
        raise InputProblem(list(dict.fromkeys(problems)))
    until = asked.until or metric.stage
    check(workspace, Request({**fixed, **combinations[0]}, until=until))  # what a run would refuse besides
    reached = stages_graph.descendants({stage for path in readers for stage in readers[path]})
    seed = int(values.get("seed", 0))
    body = {
        "dimensions": dimensions,
        "fixed": fixed,
        "metric": metric,
        "until": until,
        "sampler": asked.sampler,
        "prune": asked.prune,
        "stages": tuple(stages),
        "shared": tuple(stage for stage in stages if stage not in reached),
        "readers": readers,
    }
    rest = {path: value for path, value in parameters_file.flatten(values).items() if path not in readers}
    name = asked.name or _made_up(metric, [str(each) for each in dimensions], {**body, "rest": {**rest, **fixed}})
    trials = len(combinations) if asked.sampler == "grid" else asked.trials
    return Sweep(name=name, trials=trials, seed=seed, **body)  # type: ignore[arg-type]


def _problems_of_options(asked: Asked, dimensions: tuple[Dimension, ...], given: list[Dimension]) -> list[str]:
    problems = []
    if not dimensions and (not asked.assignments or given):
        problems.append("--set: nothing is varied; give a parameter several values: --set pretrain.learning_rate=1,2")
    if asked.sampler not in SAMPLERS:
        problems.append(f"--sampler {asked.sampler}: there are {', '.join(SAMPLERS)}")
    elif asked.sampler == "grid" and asked.trials is not None:
        problems.append("--trials: a grid runs every combination; leave this out, or take --sampler random or tpe")
    elif asked.sampler != "grid":
        if asked.trials is None:
            problems.append(f"--sampler {asked.sampler}: say how many trials to run, such as --trials 30")
        elif asked.trials < 1:
            problems.append(f"--trials {asked.trials}: must be 1 or more")
        problems += [
            f"--set {each.path}: a sampler would take seeds for settings; give one seed, or take --sampler grid, where "
            "they repeat each setting"
            for each in dimensions
            if space.is_seed(each.path)
        ]
    if not 1 <= asked.parallel <= MOST_PARALLEL:
        problems.append(f"--parallel {asked.parallel}: must be from 1 to {MOST_PARALLEL}")
    if asked.name is not None and not _NAME.fullmatch(asked.name):
        problems.append(f"--name {asked.name}: use at most 60 letters, digits, '-' and '_', a letter or digit first")
    return problems


def _problems_of_values(
    workspace: Workspace,
    values: Mapping[str, Any],
    fixed: Mapping[str, Any],
    combinations: list[dict[str, Any]],
    stages: set[str],
    readers: Mapping[str, tuple[str, ...]],
) -> list[str]:
    problems: list[str] = []
    for combination in combinations:
        overrides = {**fixed, **combination}
        try:
            applied = parameters_file.apply(values, overrides)
        except InputProblem as problem:
            problems += problem.problems
            continue
        found = parameters.problems_in(applied, overrides)
        if not found:
            touched = sorted({stage for path in readers for stage in readers[path]} & stages)
            found = [
                parameters.attribute(line, overrides) for line in problems_of_stages(workspace.root, touched, applied)
            ]
        problems += found
    return list(dict.fromkeys(problems))


def _readers(root: Path, stages_graph: Graph, path: str) -> list[str]:
    """The stages that have the parameter, a part of it or the section that it is in among their ``params``."""
    named = bounded.yaml((root / "dvc.yaml").read_bytes())["stages"]
    found = []
    for stage in stages_graph.order:
        body = named.get(stage) or named.get(stage.partition("@")[0]) or {}
        listed = (body.get("do") or body).get("params") or []
        if any(isinstance(each, str) and (f"{path}.".startswith(f"{each}.") or each.startswith(f"{path}."))
               for each in listed):  # fmt: skip
            found.append(stage)
    return found


def _made_up(metric: TrialMetric, dimensions: list[str], body: Mapping[str, Any]) -> str:
    """The same name for the same sweep: what is varied, and a digest of everything that its trials have in common."""
    text = json.dumps({**body, "metric": str(metric), "dimensions": dimensions}, sort_keys=True, default=str)
    return f"sweep-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
