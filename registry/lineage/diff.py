"""What differs between two model versions: data, code, parameters, environment, metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from core import parameters_file
from core.git import git
from core.manifests import FOLDER
from core.workspace import Workspace
from registry.lineage.catalog import MetricView
from registry.lineage.trace import ArtifactNode, ExecutionNode, Trace, traces
from registry.store.manifests import FolderManifests

Z = 1.96  # standard errors of a difference within which it is noise (two-sided, 5 %)
NOT_CODE = ("dvc.lock", "params.yaml", "receipts", "metrics", "data", "models", "reports", "docs")


@dataclass
class ValueDifference:
    """One value that differs; ``None`` on the side that has none. ``where`` names it, such as ``pretrain.steps``."""

    where: str
    a: Any
    b: Any


@dataclass
class DataDifference:
    """An input that differs.

    Attributes:
        added, removed, changed: files by path, for folders whose lists of files are available (else ``None``).
    """

    where: str
    a: str | None
    b: str | None
    added: list[str] | None = None
    removed: list[str] | None = None
    changed: list[str] | None = None


@dataclass
class MetricDifference:
    """A metric of both versions.

    Attributes:
        beyond_noise: the difference is larger than 1.96 standard errors of a difference of independent values;
            ``None`` where no standard errors were measured.
        same_eval_set: measured on the same bytes; where not, the two values cannot be compared.
        better: B is better, where the metric has a direction and differs.
    """

    name: str
    a: float | None
    b: float | None
    stderr_a: float | None
    stderr_b: float | None
    difference: float | None
    beyond_noise: bool | None
    same_eval_set: bool
    better: bool | None


@dataclass
class VersionDiff:
    """Everything that differs between versions ``a`` and ``b``; metrics are listed whether they differ or not.

    Attributes:
        code_stat: ``git diff --stat`` between the runs' snapshots, limited to code.
    """

    a: str
    b: str
    data: list[DataDifference] = field(default_factory=list)
    code: list[ValueDifference] = field(default_factory=list)
    code_stat: str | None = None
    parameters: list[ValueDifference] = field(default_factory=list)
    environment: list[ValueDifference] = field(default_factory=list)
    metrics: list[MetricDifference] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def diff(session: Session, workspace: Workspace, a: str, b: str) -> VersionDiff:
    """Compare two versions, stage by stage over both family trees.

    Raises:
        UnknownReference: no such model, version or alias.
    """
    first, second = traces(session, a, b)
    found = VersionDiff(f"{first.model}:{first.version}", f"{second.model}:{second.version}")
    stages_a, stages_b = _by_stage(first), _by_stage(second)
    manifests = FolderManifests(workspace)
    for stage in dict.fromkeys((*stages_a, *stages_b)):
        one, other = stages_a.get(stage), stages_b.get(stage)
        if one is None or other is None:
            found.code.append(ValueDifference(stage, _version(one), _version(other)))
            continue
        found.data += _data(manifests, stage, one, other)
        found.code += _code(stage, one, other)
        found.parameters += _values(stage, _settings(one), _settings(other))
        found.environment += _values(stage, _surroundings(one), _surroundings(other))
    found.environment = _merged(found.environment)
    found.code_stat = _stat(workspace, first, second)
    found.metrics = _metrics(first.metrics, second.metrics)
    return found


def _by_stage(traced: Trace) -> dict[str, ExecutionNode]:
    """Executions by stage; a stage that an older generation went through too by ``stage (2)``, nearest first."""
    stages: dict[str, ExecutionNode] = {}
    for node in traced.executions():
        name, count = node.stage, 1
        while name in stages:
            count += 1
            name = f"{node.stage} ({count})"
        stages[name] = node
    return stages


def _version(node: ExecutionNode | None) -> str | None:
    return f"{node.component} {node.component_version}" if node else None


def _data(manifests: FolderManifests, stage: str, one: ExecutionNode, other: ExecutionNode) -> Iterator[DataDifference]:
    inputs_a, inputs_b = dict(_roles(one)), dict(_roles(other))
    for role in dict.fromkeys((*inputs_a, *inputs_b)):
        a, b = inputs_a.get(role), inputs_b.get(role)
        if a is not None and b is not None and a.digest == b.digest:
            continue
        difference = DataDifference(f"{stage}.{role}", a.digest if a else None, b.digest if b else None)
        if a is not None and b is not None and FOLDER in a.digest and FOLDER in b.digest:
            files_a, files_b = manifests.files(a.digest, a.name), manifests.files(b.digest, b.name)
            if files_a is not None and files_b is not None:
                difference.added = sorted(files_b.keys() - files_a.keys())
                difference.removed = sorted(files_a.keys() - files_b.keys())
                difference.changed = sorted(n for n in files_a.keys() & files_b.keys() if files_a[n] != files_b[n])
        yield difference


def _roles(node: ExecutionNode) -> Iterator[tuple[str, ArtifactNode]]:
    counts: dict[str, int] = {}
    for role, artifact in node.inputs:
        counts[role] = counts.get(role, 0) + 1
        yield (role if counts[role] == 1 else f"{role} ({counts[role]})"), artifact


def _code(stage: str, one: ExecutionNode, other: ExecutionNode) -> Iterator[ValueDifference]:
    if one.code_digest != other.code_digest:
        a, b = (f"{node.component_version} (code {node.code_digest[:12]})" for node in (one, other))
        yield ValueDifference(stage, a, b)
    if one.git_commit != other.git_commit or one.git_dirty != other.git_dirty:
        yield ValueDifference(f"{stage} git commit", _commit(one), _commit(other))


def _commit(node: ExecutionNode) -> str | None:
    return f"{node.git_commit[:12]}{' with uncommitted edits' if node.git_dirty else ''}" if node.git_commit else None


def _settings(node: ExecutionNode) -> dict[str, Any]:
    return {**parameters_file.flatten(node.parameters), "seed": node.seed}


def _surroundings(node: ExecutionNode) -> dict[str, Any]:
    return {"device": node.device, "processes": node.processes, **parameters_file.flatten(node.environment)}


def _values(stage: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[ValueDifference]:
    for name in dict.fromkeys((*one, *other)):
        if one.get(name) != other.get(name):
            yield ValueDifference(f"{stage}.{name}", one.get(name), other.get(name))


def _merged(differences: list[ValueDifference]) -> list[ValueDifference]:
    """What differs in the same way in several stages is listed once."""
    stages: dict[tuple[str, str, str], list[str]] = {}
    kept: dict[tuple[str, str, str], ValueDifference] = {}
    for difference in differences:
        stage, _, name = difference.where.partition(".")
        key = (name, repr(difference.a), repr(difference.b))
        stages.setdefault(key, []).append(stage)
        kept.setdefault(key, ValueDifference(name, difference.a, difference.b))
    for key, difference in kept.items():
        difference.where += f" ({', '.join(stages[key])})"
    return list(kept.values())


def _stat(workspace: Workspace, first: Trace, second: Trace) -> str | None:
    """``git diff --stat`` between the two runs' trees; ``None`` where a snapshot is not known or not in this clone."""
    commits = [traced.root.made_by.snapshot if traced.root.made_by else None for traced in (first, second)]
    if None in commits:
        return None
    known = all(git(workspace.root, "cat-file", "-t", str(commit), check=False) == "commit" for commit in commits)
    if not known:
        return None
    excluded = [f":(exclude){path}" for path in NOT_CODE]
    return git(workspace.root, "diff", "--stat", *map(str, commits), "--", ".", *excluded)


def _metrics(first: list[MetricView], second: list[MetricView]) -> list[MetricDifference]:
    by_name_a, by_name_b = ({(m.stage, m.name): m for m in metrics} for metrics in (first, second))
    return [
        _compared(f"{stage}.{name}", by_name_a.get((stage, name)), by_name_b.get((stage, name)))
        for stage, name in dict.fromkeys((*by_name_a, *by_name_b))
    ]


def _compared(name: str, a: MetricView | None, b: MetricView | None) -> MetricDifference:
    if a is None or b is None:
        value_a, stderr_a = (a.value, a.stderr) if a is not None else (None, None)
        value_b, stderr_b = (b.value, b.stderr) if b is not None else (None, None)
        return MetricDifference(name, value_a, value_b, stderr_a, stderr_b, None, None, False, None)
    difference = b.value - a.value
    same = a.eval_set == b.eval_set
    spread = math.hypot(a.stderr or 0.0, b.stderr or 0.0)
    beyond = abs(difference) > Z * spread if a.stderr is not None and b.stderr is not None else None
    better = None if not difference or a.higher_is_better is None else (difference > 0) == a.higher_is_better
    return MetricDifference(name, a.value, b.value, a.stderr, b.stderr, difference, beyond, same, better)
