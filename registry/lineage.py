"""Asking the registry: which models there are, and where one came from, back to the raw bytes."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import literal, select
from sqlalchemy.orm import Session, aliased

from registry.aliases import current_aliases
from registry.references import resolve
from registry.schema import (
    Artifact,
    Association,
    Context,
    Event,
    Execution,
    MetricValue,
    ModelVersion,
    RegisteredModel,
    Snapshot,
)

RAW_TYPES = frozenset({"raw"})  # what no stage makes


@dataclass
class MetricView:
    """A figure about an artifact; ``stage`` measured it on the evaluation set of digest ``eval_set``."""

    name: str
    value: float
    stderr: float | None
    n: int | None
    higher_is_better: bool | None
    baselines: dict[str, float]
    headline: bool
    stage: str
    eval_set: str | None


@dataclass
class ExecutionNode:
    """The execution that really made an artifact's bytes, and what it read. ``inputs`` are (role, artifact) pairs."""

    stage: str
    component: str
    component_version: str
    code_digest: str
    fingerprint: str
    non_default: dict[str, Any]
    git_commit: str | None
    git_dirty: bool | None
    run: str | None
    snapshot: str | None
    mlflow_run_id: str | None
    prefect_flow_run_id: str | None
    prefect_task_run_id: str | None
    seed: int | None
    device: str | None
    processes: int | None
    tokens: int | None
    seconds: float | None
    started: float | None
    warnings: list[str]
    inputs: list[tuple[str, ArtifactNode]] = field(default_factory=list)


@dataclass
class ArtifactNode:
    """Bytes in a family tree.

    Attributes:
        made_by: what made them; ``None`` for raw data, and where nothing is known (``complete`` is false then).
        repeated: this artifact was expanded earlier in the tree, so ``made_by`` is left out here.
        complete: it is raw data, or the execution that made it is known.
    """

    type: str
    name: str
    hash_algo: str
    digest: str
    size: int | None
    files: int | None
    made_by: ExecutionNode | None = None
    repeated: bool = False
    complete: bool = True


@dataclass
class Trace:
    """Where a model version came from."""

    model: str
    version: int
    aliases: list[str]
    created: float
    metrics: list[MetricView]
    root: ArtifactNode

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def artifacts(self) -> list[ArtifactNode]:
        """Every artifact of the tree once, the model first."""
        found: list[ArtifactNode] = []
        waiting = [self.root]
        while waiting:
            node = waiting.pop(0)
            if not node.repeated:
                found.append(node)
                waiting += [artifact for _, artifact in node.made_by.inputs] if node.made_by else []
        return found


@dataclass
class ModelSummary:
    """One line of ``stemma models``; ``age`` in seconds."""

    model: str
    version: int
    aliases: list[str]
    metric: MetricView | None
    created: float
    age: float
    digest: str
    size: int | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def models(session: Session) -> list[ModelSummary]:
    """Every version of every registered model, newest version of a model first."""
    aliases = _aliases(session)
    versions = session.scalars(
        select(ModelVersion).join(RegisteredModel).order_by(RegisteredModel.name, ModelVersion.version.desc())
    ).all()
    headlines = {
        metric.execution_id: metric
        for metric in session.scalars(select(MetricValue).where(MetricValue.headline.is_(True)))
    }
    now = time.time()
    return [
        ModelSummary(
            model=version.model.name,
            version=version.version,
            aliases=aliases[version.id],
            metric=_view(headlines[version.execution_id]) if version.execution_id in headlines else None,
            created=version.created,
            age=max(0.0, now - version.created),
            digest=version.artifact.digest,
            size=version.artifact.size,
        )
        for version in versions
    ]


def trace(session: Session, reference: str) -> Trace:
    """The family tree of a model version, upstream to the raw bytes.

    Raises:
        UnknownReference: no such model, version or alias.
    """
    version = resolve(session, reference)
    return Trace(
        model=version.model.name,
        version=version.version,
        aliases=_aliases(session)[version.id],
        created=version.created,
        metrics=metrics_of(session, version.artifact_id),
        root=_Ancestry(session, version).tree(),
    )


def metrics_of(session: Session, artifact_id: int) -> list[MetricView]:
    """All figures about an artifact, headline first, then in the order they were measured."""
    rows = session.scalars(
        select(MetricValue).filter_by(artifact_id=artifact_id).order_by(MetricValue.headline.desc(), MetricValue.id)
    )
    return [_view(row) for row in rows]


def _aliases(session: Session) -> defaultdict[int, list[str]]:
    aliases: defaultdict[int, list[str]] = defaultdict(list)
    for row in current_aliases(session):
        aliases[row.to_version_id].append(row.alias)
    return aliases


def _view(metric: MetricValue) -> MetricView:
    return MetricView(
        name=metric.name,
        value=metric.value,
        stderr=metric.stderr,
        n=metric.n,
        higher_is_better=metric.higher_is_better,
        baselines=metric.baselines,
        headline=metric.headline,
        stage=metric.execution.stage,
        eval_set=metric.eval_set.digest if metric.eval_set else None,
    )


class _Ancestry:
    """Everything upstream of a version, fetched by one recursive query, then put together as a tree."""

    def __init__(self, session: Session, version: ModelVersion):
        self.session, self.version = session, version
        ids = self._ancestors()
        self.executions = {
            row.id: row
            for row in session.scalars(select(Execution).where(Execution.id.in_(select(ids.c.execution_id))))
        }
        events = session.scalars(
            select(Event).where(Event.execution_id.in_(select(ids.c.execution_id))).order_by(Event.id)
        ).all()
        self.inputs: defaultdict[int, list[Event]] = defaultdict(list)
        self.makers: defaultdict[int, list[Execution]] = defaultdict(list)
        for event in events:
            if event.direction == "INPUT":
                self.inputs[event.execution_id].append(event)
            else:
                self.makers[event.artifact_id].append(self.executions[event.execution_id])
        wanted = select(Event.artifact_id).where(Event.execution_id.in_(select(ids.c.execution_id)))
        self.artifacts = {row.id: row for row in session.scalars(select(Artifact).where(Artifact.id.in_(wanted)))}
        self.artifacts[version.artifact_id] = version.artifact
        self.runs = {
            execution_id: (name, commit)
            for execution_id, name, commit in session.execute(
                select(Association.execution_id, Context.name, Snapshot.commit_sha)
                .join(Context, Context.id == Association.context_id)
                .outerjoin(Snapshot, Snapshot.context_id == Context.id)
                .where(Context.type == "pipeline_run", Association.execution_id.in_(select(ids.c.execution_id)))
                .order_by(Context.id.desc())
            )
        }
        self.seen: set[int] = set()

    def _ancestors(self):
        """Ids of all executions upstream of the version's own."""
        upstream = select(literal(self.version.execution_id).label("execution_id")).cte("upstream", recursive=True)
        read, made = aliased(Event), aliased(Event)
        return upstream.union(
            select(made.execution_id)
            .join(read, (read.artifact_id == made.artifact_id) & (read.direction == "INPUT"))
            .join(upstream, upstream.c.execution_id == read.execution_id)
            .where(made.direction == "OUTPUT")
        )

    def tree(self) -> ArtifactNode:
        return self._artifact(self.version.artifact_id, self.executions[self.version.execution_id])

    def _artifact(self, artifact_id: int, maker: Execution | None) -> ArtifactNode:
        row = self.artifacts[artifact_id]
        node = ArtifactNode(row.type, row.name, row.hash_algo, row.digest, row.size, row.files)
        node.complete = maker is not None or row.type in RAW_TYPES
        if artifact_id in self.seen:
            node.repeated = maker is not None
            return node
        self.seen.add(artifact_id)
        node.made_by = self._execution(maker) if maker is not None else None
        return node

    def _execution(self, row: Execution) -> ExecutionNode:
        run, commit = self.runs.get(row.id, (None, None))
        inputs = [
            (event.role, self._artifact(event.artifact_id, self._maker(event.artifact_id, row)))
            for event in self.inputs[row.id]
        ]
        return ExecutionNode(
            stage=row.stage,
            component=row.component.name,
            component_version=row.component.version,
            code_digest=row.component.spec_digest,
            run=run,
            snapshot=commit,
            inputs=inputs,
            **{name: getattr(row, name) for name in _COPIED},
        )

    def _maker(self, artifact_id: int, reader: Execution) -> Execution | None:
        """What made the bytes that ``reader`` read: equal bytes may have been made more than once, even later."""
        makers = sorted(self.makers[artifact_id], key=lambda row: (row.started or 0.0, row.id))
        makers = [row for row in makers if row.id != reader.id]
        earlier = [row for row in makers if (row.started or 0.0) <= (reader.started or 0.0)]
        return earlier[-1] if earlier else next(iter(makers), None)


_COPIED = (
    "fingerprint", "non_default", "git_commit", "git_dirty", "mlflow_run_id", "prefect_flow_run_id",
    "prefect_task_run_id", "seed", "device", "processes", "tokens", "seconds", "started", "warnings",
)  # fmt: skip
