"""Comparing a version's recorded lineage with the same lineage run again: the verdict, and what differs first.

The verdict is about the model's bytes:

- *bit-identical*: the model's digest is the recorded one.
- *equivalent*: other bytes by the same recipe (code, parameters, raw data), and every metric with a stated tolerance
  within it: the larger of the promotion rule's ``max_drop`` and 1.96 standard errors of the difference.
- *diverged*: anything else. A changed recipe that gives other bytes makes another model, however close its metrics.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal

from core import dvc_lock
from core.dvc_lock import LockedStage
from core.errors import redacted
from core.workspace import Workspace
from registry.db.database import Registry
from registry.db.references import resolve
from registry.db.schema import Reproduction
from registry.errors import MissingBytes
from registry.lineage.receipts import MetricRecord, Receipt
from registry.lineage.sync import flatten
from registry.promotion.gate import NOISE
from registry.promotion.mirror import unreachable
from registry.promotion.parameters import PromotionParameters
from registry.promotion.promote import default_actor
from registry.store.restore import Source

ReproductionVerdict = Literal["bit-identical", "equivalent", "diverged"]
Kind = Literal["input", "code", "parameters", "environment"]
RECIPE: tuple[Kind, ...] = ("input", "code", "parameters")


@dataclass(frozen=True)
class LineageStage:
    """A stage as it ran: its receipt and its entry in ``dvc.lock``."""

    locked: LockedStage
    receipt: Receipt

    @property
    def name(self) -> str:
        return self.locked.name

    def outputs(self, *, reports: bool) -> dict[str, str]:
        """Digests of its reports, or of everything else it made, by path."""
        wanted = [item.path for item in self.receipt.outputs if (item.type == "report") == reports]
        return {path: self.locked.outs[path] for path in wanted if path in self.locked.outs}


@dataclass(frozen=True)
class RecipeDifference:
    """One thing that was not as recorded; no ``kind`` for a stage's own failure, no ``path`` if it is not a file."""

    kind: Kind | None
    what: str
    path: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}" if self.kind else self.what


@dataclass
class StageComparison:
    """A stage, recorded and run again.

    Attributes:
        outputs: (recorded, made) digest of each output that is not a report, by path.
        reports_differ: reports whose bytes differ; they are no part of the verdict.
        differences: what was not as recorded before it ran.
    """

    stage: str
    outputs: dict[str, tuple[str, str | None]]
    reports_differ: list[str] = field(default_factory=list)
    differences: list[RecipeDifference] = field(default_factory=list)

    @property
    def same(self) -> bool:
        return all(recorded == made for recorded, made in self.outputs.values())


@dataclass
class MetricComparison:
    """A metric, recorded and measured again; ``tolerance`` is ``None`` where none is stated."""

    name: str
    recorded: float
    made: float
    tolerance: float | None
    basis: str = "no stated tolerance"

    @property
    def within(self) -> bool | None:
        return None if self.tolerance is None else abs(self.made - self.recorded) <= self.tolerance


@dataclass
class Comparison:
    """The result of running a lineage again.

    Attributes:
        stage: first stage whose bytes differ, or that failed; ``None`` where all are the same.
        causes: what differed at that stage; empty where nothing did.
    """

    verdict: ReproductionVerdict
    recorded_digest: str
    made_digest: str | None
    stage: str | None
    causes: list[RecipeDifference]
    stages: list[StageComparison]
    metrics: list[MetricComparison]

    def as_dict(self) -> dict[str, Any]:
        body = asdict(self)
        for metric, row in zip(self.metrics, body["metrics"], strict=True):
            row["within"] = metric.within
        for stage, row in zip(self.stages, body["stages"], strict=True):
            row["same"] = stage.same
        return body


def lineage(source: Source, read: Callable[[str], bytes | None]) -> list[LineageStage]:
    """The stages above the model and those that measure it, upstream first.

    Args:
        read: content of a file of the tree, or ``None``.

    Raises:
        MissingBytes: a stage left no receipt that can be read, so there is nothing to compare with.
    """
    stages = dvc_lock.stages_of(read("dvc.lock") or b"", "dvc.lock")
    parents = {
        name: {other.name for other in stages.values() if other.name != name and _reads(stage, other)}
        for name, stage in stages.items()
    }
    maker = next((stage.name for stage in stages.values() if source.digest in stage.outs.values()), source.stage)
    loaded: dict[str, LineageStage] = {}

    def load(name: str) -> LineageStage | None:
        if name not in loaded and (receipt := _receipt(stages[name], read)) is not None:
            loaded[name] = LineageStage(stages[name], receipt)
        return loaded.get(name)

    measuring = [
        name
        for name, stage in stages.items()
        if source.path in stage.deps and (found := load(name)) and not found.outputs(reports=False)
    ]
    wanted, todo = set(), [maker, *measuring]
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo += parents[name]
    order = [name for name in TopologicalSorter(parents).static_order() if name in wanted]
    if without := [name for name in order if load(name) is None]:
        raise MissingBytes(
            f"{source.version}: the snapshot of run {source.run} has no receipt of {', '.join(without)}, so there is "
            "nothing to compare a new run with"
        )
    return [loaded[name] for name in order]


def stage_in(root: Path, name: str) -> LineageStage | None:
    """A stage as it ran last in the tree at ``root``; ``None`` where it left nothing."""

    def read(path: str) -> bytes | None:
        return (root / path).read_bytes() if (root / path).is_file() else None

    stage = dvc_lock.stages_of(read("dvc.lock") or b"", "dvc.lock").get(name)
    receipt = _receipt(stage, read) if stage is not None else None
    return LineageStage(stage, receipt) if stage is not None and receipt is not None else None


def compare_stage(
    recorded: LineageStage, made: LineageStage | None, failure: list[RecipeDifference]
) -> StageComparison:
    """How a stage's second run differs from its first; ``failure`` where the second left nothing."""
    outputs = recorded.outputs(reports=False)
    if made is None:
        return StageComparison(recorded.name, {path: (digest, None) for path, digest in outputs.items()}, [], failure)
    new_outputs, reports = made.outputs(reports=False), made.outputs(reports=True)
    comparison = StageComparison(recorded.name, {path: (outputs[path], new_outputs.get(path)) for path in outputs})
    old_reports = recorded.outputs(reports=True)
    comparison.reports_differ = [path for path, digest in old_reports.items() if reports.get(path) != digest]
    inputs = {item.path for item in (*recorded.receipt.inputs, *made.receipt.inputs)}
    old, new = recorded.locked, made.locked
    differences = [
        RecipeDifference("input", f"{path} {_changed(old.deps.get(path), new.deps.get(path))}", path)
        for path in sorted(inputs)
        if old.deps.get(path) != new.deps.get(path)
    ]
    differences += [
        RecipeDifference("code", f"{path} {_changed(old.deps.get(path), new.deps.get(path))}", path)
        for path in sorted((old.deps.keys() | new.deps.keys()) - inputs)
        if old.deps.get(path) != new.deps.get(path)
    ]
    if old.command != new.command:
        differences.append(RecipeDifference("code", f"command in dvc.yaml was {old.command!r}, is {new.command!r}"))
    component, component_now = recorded.receipt.component, made.receipt.component
    if component.code_digest != component_now.code_digest and not any(d.kind == "code" for d in differences):
        differences.append(
            RecipeDifference("code", f"component {_changed(component.code_digest, component_now.code_digest)}")
        )
    differences += _values("parameters", _parameters(recorded.receipt), _parameters(made.receipt))
    differences += _values("environment", _environment(recorded.receipt), _environment(made.receipt))
    comparison.differences = differences
    return comparison


def judge(
    source: Source,
    recorded: list[LineageStage],
    made: dict[str, LineageStage],
    stages: list[StageComparison],
    rules: PromotionParameters,
) -> Comparison:
    """The verdict on a lineage that was run again, also where a stage failed."""
    maker = next(stage for stage in recorded if source.path in stage.locked.outs)
    digest = made[maker.name].locked.outs.get(source.path) if maker.name in made else None
    metrics = _metrics(source, recorded, made, rules)
    first = next((stage for stage in stages if not stage.same), None)
    failed = len(made) < len(recorded)
    if digest == source.digest:
        verdict: ReproductionVerdict = "bit-identical"
    else:
        between = {path for stage in recorded for path in stage.locked.outs}  # what differs there began above
        altered = any(
            difference.kind in RECIPE and difference.path not in between
            for stage in stages
            for difference in stage.differences
        )
        judged = [metric.within for metric in metrics if metric.within is not None]
        verdict = "equivalent" if judged and all(judged) and not altered and not failed else "diverged"
    if first is None and failed:
        first = stages[-1]
    return Comparison(
        verdict,
        source.digest,
        digest,
        first.stage if first else None,
        list(first.differences) if first else [],
        stages,
        metrics,
    )


def record(
    registry: Registry,
    workspace: Workspace,
    source: Source,
    name: str,
    comparison: Comparison,
    made: dict[str, LineageStage],
) -> None:
    """Record the verdict."""
    environment = next((_environment(stage.receipt) for stage in reversed(list(made.values()))), {})
    with registry.write() as session:
        session.add(
            Reproduction(
                version_id=resolve(session, source.version).id,
                verdict=comparison.verdict,
                stage=comparison.stage,
                cause="; ".join(map(str, comparison.causes)) or None,
                details={"name": name, "run": source.run, **comparison.as_dict()},
                actor=default_actor(workspace),
                commit_sha=source.commit,
                environment=environment,
                created=time.time(),
            )
        )


def tag_mlflow_runs(
    workspace: Workspace, source: Source, name: str, comparison: Comparison, made: dict[str, LineageStage]
) -> str | None:
    """Tag the second run's MLflow runs as a reproduction; returns why that failed, if it did."""
    tracked = [stage.receipt.mlflow for stage in made.values() if stage.receipt.mlflow.run_id]
    runs = dict.fromkeys(run for one in tracked for run in (one.parent_run_id, one.run_id) if run)
    if not runs:
        return None
    if why := unreachable(workspace.mlflow_uri):
        return f"the MLflow runs of {name} are not tagged as a reproduction: {why}"
    try:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=workspace.mlflow_uri)
        for run in runs:
            client.set_tag(run, "stemma.reproduction_of", source.version)
            client.set_tag(run, "stemma.verdict", comparison.verdict)
    except Exception as error:  # a server or a damaged database can raise anything
        return redacted(
            f"the MLflow runs of {name} are not tagged as a reproduction: {type(error).__name__}: {error}"[:300]
        )
    return None


def _reads(stage: LockedStage, other: LockedStage) -> bool:
    """True if ``stage`` reads something that ``other`` makes, or a part of it."""
    return any(dep == out or dep.startswith(f"{out}/") or out.startswith(f"{dep}/")
               for dep in stage.deps for out in other.outs)  # fmt: skip


def _receipt(stage: LockedStage, read: Callable[[str], bytes | None]) -> Receipt | None:
    path = next((path for path in stage.outs if path.startswith("receipts/") and path.endswith(".json")), None)
    content = read(path) if path else None
    try:
        return Receipt.model_validate(json.loads(content)) if content else None
    except ValueError:
        return None


def _changed(old: str | None, new: str | None) -> str:
    if old is None or new is None:
        return "is new" if old is None else "is gone"
    return f"was {old[:12]}, is {new[:12]}"


def _parameters(receipt: Receipt) -> dict[str, str]:
    return flatten({"seed": receipt.seed, receipt.component.name: receipt.parameters})


def _environment(receipt: Receipt) -> dict[str, str]:
    # A training that went on with another number of processes says so in its environment.
    return flatten({"device": receipt.device, "processes": receipt.processes, **receipt.environment})


def _values(kind: Kind, old: dict[str, str], new: dict[str, str]) -> list[RecipeDifference]:
    return [
        RecipeDifference(kind, f"{name} was {old.get(name, 'not set')}, is {new.get(name, 'not set')}")
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _metrics(
    source: Source, recorded: list[LineageStage], made: dict[str, LineageStage], rules: PromotionParameters
) -> list[MetricComparison]:
    """Metrics of the model: of the stage that made it and of those that measured it."""
    limits = rules.rules.get(source.version.partition(":")[0], {})
    found = []
    for stage in recorded:
        about = source.path in stage.locked.outs or source.path in stage.locked.deps
        new = {metric.name: metric for metric in made[stage.name].receipt.metrics} if stage.name in made else {}
        for metric in stage.receipt.metrics if about else []:
            if metric.name not in new:
                continue
            name = f"{stage.name}.{metric.name}"
            rule = limits.get(name) or limits.get(metric.name)
            limit = getattr(rule, "max_drop", None)
            tolerance, basis = _tolerance(metric, new[metric.name], limit)
            found.append(MetricComparison(name, metric.value, new[metric.name].value, tolerance, basis))
    return found


def _tolerance(old: MetricRecord, new: MetricRecord, limit: float | None) -> tuple[float | None, str]:
    stated = []
    if limit is not None:
        stated.append((limit, "max_drop of its promotion rule"))
    if old.stderr is not None or new.stderr is not None:
        noise = NOISE * math.hypot(old.stderr or 0.0, new.stderr or 0.0)
        stated.append((noise, f"{NOISE} standard errors of the difference"))
    return max(stated) if stated else (None, "no stated tolerance")
