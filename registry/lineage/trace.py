"""Where a model came from, back to the raw bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session, aliased

from registry.db.references import aliases_by_version, resolve
from registry.db.schema import (
    IMPORT,
    IMPORTED,
    Artifact,
    Association,
    Event,
    Execution,
    ExecutionContext,
    MetricValue,
    ModelVersion,
    Snapshot,
)
from registry.lineage.catalog import MetricView, metrics_of
from registry.lineage.traversal import chunks, maker, upstream

RAW_TYPES = frozenset({"raw"})  # what no stage makes


@dataclass
class ExecutionNode:
    """The execution that really made an artifact's bytes, and what it read. ``inputs`` are (role, artifact) pairs.

    Attributes:
        id: the registry's; an execution that made two artifacts of the tree appears under both.
        run: the pipeline run it was executed in; ``snapshot`` is the git commit of that run's exact tree.
        reused_by: later pipeline runs that found this work cached.
        tokens: processed; ``seconds`` of wall time over all attempts.
        gpu_seconds: of all its accelerators together; 0 on CPU.
    """

    id: int
    stage: str
    component: str
    component_version: str
    code_digest: str
    fingerprint: str
    parameters: dict[str, Any]
    non_default: dict[str, Any]
    git_commit: str | None
    git_dirty: bool | None
    run: str | None
    snapshot: str | None
    reused_by: list[str]
    mlflow_run_id: str | None
    mlflow_experiment_id: str | None
    prefect_flow_run_id: str | None
    prefect_task_run_id: str | None
    seed: int | None
    device: str | None
    processes: int | None
    environment: dict[str, Any]
    tokens: int | None
    seconds: float | None
    gpu_seconds: float | None
    started: float | None
    ended: float | None
    warnings: list[str]
    inputs: list[tuple[str, ArtifactNode]] = field(default_factory=list)


@dataclass
class ArtifactNode:
    """Bytes in a family tree.

    Attributes:
        made_by: what made them; ``None`` for raw data, and where that was not recorded (``complete`` is false then).
        repeated: this artifact was expanded earlier in the tree, so ``made_by`` is left out here.
        complete: it is raw data or imported weights, or the execution that made it is recorded.
        size: bytes.
        metric: its key metric, as last measured.
        model: the registered version that it is, if it is one.
        origin: where weights were imported from: a folder, or ``owner/name@commit`` of the hub; and their licence.
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
    metric: MetricView | None = None
    model: str | None = None
    origin: str | None = None


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
        return list(self._nodes())

    def executions(self) -> list[ExecutionNode]:
        """Every execution of the tree once, the one that made the model first."""
        return list({node.made_by.id: node.made_by for node in self._nodes() if node.made_by is not None}.values())

    def _nodes(self) -> Iterator[ArtifactNode]:
        waiting, seen = [self.root], set()
        for node in waiting:  # grows meanwhile
            # A model that is taken as it is has the digest of what was brought, which alone has an origin.
            key = (node.type, node.hash_algo, node.digest, node.origin)
            if not node.repeated and key not in seen:
                seen.add(key)
                yield node
                waiting += [artifact for _, artifact in node.made_by.inputs] if node.made_by else []


def trace(session: Session, reference: str) -> Trace:
    """The family tree of a model version, upstream to the raw bytes.

    Raises:
        UnknownReference: no such model, version or alias.
    """
    [found] = traces(session, reference)
    return found


def traces(session: Session, *references: str) -> list[Trace]:
    """The family trees of several model versions, by as many queries as one takes.

    Raises:
        UnknownReference: no such model, version or alias.
    """
    versions = [resolve(session, reference) for reference in references]
    aliases, ancestry = aliases_by_version(session), _Ancestry(session, versions)
    return [
        Trace(
            model=version.model.name,
            version=version.version,
            aliases=aliases.get(version.id, []),
            created=version.created,
            metrics=metrics_of(session, version.artifact_id),
            root=ancestry.tree(version),
        )
        for version in versions
    ]


class _Ancestry:
    """Everything upstream of versions, fetched by a handful of queries, then put together as a tree of each."""

    def __init__(self, session: Session, versions: Collection[ModelVersion]):
        self.session = session
        ids = upstream(session, *(version.execution_id for version in versions))
        self.executions: dict[int, Execution] = {}
        self.inputs: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)  # (role, artifact) of an execution
        self.makings: defaultdict[int, list[tuple[float, int]]] = defaultdict(list)
        self.artifacts: dict[int, Row[Any]] = {}
        self.runs: dict[int, tuple[str, str | None]] = {}
        self.reuses: defaultdict[int, list[str]] = defaultdict(list)
        self.models: dict[tuple[int, int], str] = {}
        self.metrics: dict[int, MetricView] = {}
        for chunk in chunks(ids):
            self._fetch(chunk)
        for chunk in chunks(self.artifacts):
            for row in session.scalars(
                select(MetricValue)
                .where(MetricValue.artifact_id.in_(chunk), MetricValue.headline.is_(True))
                .order_by(MetricValue.id)
            ):
                self.metrics[row.artifact_id] = MetricView.of(row)

    def _fetch(self, ids: Collection[int]) -> None:
        session = self.session
        for row in session.scalars(select(Execution).where(Execution.id.in_(ids))):
            self.executions[row.id] = row
        # Columns and no objects: making hundreds of these takes longer than all the queries.
        events = session.execute(
            select(Event.execution_id, Event.direction, Event.role, *(getattr(Artifact, name) for name in _SHOWN))
            .join(Artifact, Artifact.id == Event.artifact_id)
            .where(Event.execution_id.in_(ids))
            .order_by(Event.id)
        )
        for found in events:
            self.artifacts[found.id] = found
            if found.direction == "INPUT":
                self.inputs[found.execution_id].append((found.role, found.id))
            else:
                started = self.executions[found.execution_id].started or 0.0
                self.makings[found.id].append((started, found.execution_id))
        is_run = (ExecutionContext.id == Association.context_id) & (ExecutionContext.type == "pipeline_run")
        filed = session.execute(
            select(Association.execution_id, ExecutionContext.name, Snapshot.commit_sha)
            # An outer join only to fix the order: SQLite would go through all runs instead.
            .outerjoin(ExecutionContext, is_run)
            .outerjoin(Snapshot, Snapshot.context_id == ExecutionContext.id)
            .where(Association.execution_id.in_(ids))
            .order_by(Association.context_id.desc())
        )
        for execution_id, name, commit in filed:
            if name is not None:
                self.runs[execution_id] = (name, commit)
        cached = aliased(Execution)
        reused = session.execute(
            select(cached.original_id, ExecutionContext.name)
            .join(Association, Association.execution_id == cached.id)
            .join(ExecutionContext, ExecutionContext.id == Association.context_id)
            .where(cached.original_id.in_(ids))
            .order_by(ExecutionContext.id)
        )
        for execution_id, name in reused:
            self.reuses[execution_id].append(name)
        for version in session.scalars(select(ModelVersion).where(ModelVersion.execution_id.in_(ids))):
            self.models[version.execution_id, version.artifact_id] = str(version)

    def tree(self, version: ModelVersion) -> ArtifactNode:
        self.seen: set[int] = set()
        return self._artifact(version.artifact_id, version.execution_id)

    def _artifact(self, artifact_id: int, maker_id: int | None) -> ArtifactNode:
        row = self.artifacts[artifact_id]
        node = ArtifactNode(row.type, row.name, row.hash_algo, row.digest, row.size, row.files)
        if maker_id is None and (row.uri or "").startswith(IMPORTED):
            node.origin = row.uri.removeprefix(IMPORTED)
        node.complete = maker_id is not None or row.type in RAW_TYPES or node.origin is not None
        node.metric = self.metrics.get(artifact_id)
        if maker_id is not None:
            node.model = self.models.get((maker_id, artifact_id))
        if artifact_id in self.seen:
            node.repeated = maker_id is not None
            return node
        self.seen.add(artifact_id)
        node.made_by = self._execution(maker_id) if maker_id is not None else None
        if node.made_by is not None and node.made_by.stage == IMPORT:
            node.origin = origin_of(node.made_by.parameters)
        return node

    def _execution(self, execution_id: int) -> ExecutionNode:
        row = self.executions[execution_id]
        run, commit = self.runs.get(row.id, (None, None))
        reader = (row.started or 0.0, row.id)
        inputs = [
            (role, self._artifact(artifact_id, maker(self.makings[artifact_id], reader)))
            for role, artifact_id in self.inputs[row.id]
        ]
        return ExecutionNode(
            component=row.component.name,
            component_version=row.component.version,
            code_digest=row.component.spec_digest,
            run=run,
            snapshot=commit,
            reused_by=self.reuses[row.id],
            inputs=inputs,
            **{name: getattr(row, name) for name in _COPIED},
        )


def origin_of(parameters: dict[str, Any]) -> str:
    """Where `stemma import` brought a model from, in words."""
    origin, revision, license = (parameters.get(name) for name in ("origin", "revision", "license"))
    return f"{origin}{f'@{revision}' if revision else ''} (licence {license or 'not known'})"


_SHOWN = ("id", "type", "name", "hash_algo", "digest", "size", "files", "uri")  # of an artifact
_COPIED = (
    "id", "stage", "fingerprint", "parameters", "non_default", "git_commit", "git_dirty", "mlflow_run_id",
    "mlflow_experiment_id", "prefect_flow_run_id", "prefect_task_run_id", "seed", "device", "processes", "environment",
    "tokens", "seconds", "gpu_seconds", "started", "ended", "warnings",
)  # fmt: skip
