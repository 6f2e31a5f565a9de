"""An artifact on one page: what it is, how it was made, what it was measured at, and what was made from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.references import find_artifacts
from registry.db.schema import IMPORTED, Artifact, Event, Execution, ModelVersion
from registry.errors import UnknownReference
from registry.lineage import listing
from registry.lineage.catalog import MetricView, metrics_of

MAKINGS, READERS = 5, 20  # at most on a card


@dataclass
class Linked:
    """Something that an execution read or wrote: its role there, and the artifact."""

    role: str
    type: str
    name: str
    digest: str


@dataclass
class Step:
    """An execution that made or read an artifact; ``inputs`` and ``outputs`` without the artifact itself."""

    stage: str
    component: str
    run: str | None
    started: float | None
    seconds: float | None
    device: str | None
    parameters: dict[str, Any]
    mlflow: tuple[str, str] | None
    prefect_flow_run: str | None
    inputs: list[Linked]
    outputs: list[Linked]


@dataclass
class ArtifactCard:
    """An artifact. ``origin``: where imported weights came from. ``read_by`` are the first that read it."""

    type: str
    name: str
    hash_algo: str
    digest: str
    size: int | None
    files: int | None
    created: float
    origin: str | None
    versions: list[str]
    metrics: list[MetricView]
    made_by: list[Step]
    read_by: list[Step]


def cards(session: Session, digest: str) -> list[ArtifactCard]:
    """The artifacts of a digest, or of its start: several where the same bytes were recorded as several types.

    Raises:
        UnknownReference: there is none, or the start is that of several digests.
    """
    found = find_artifacts(session, digest)
    if not found:
        raise UnknownReference(f"no recorded artifact has a digest that starts with {digest}")
    return [_card(session, row) for row in found]


def _card(session: Session, row: Artifact) -> ArtifactCard:
    versions = session.scalars(select(ModelVersion).filter_by(artifact_id=row.id).limit(READERS))
    return ArtifactCard(
        row.type,
        row.name,
        row.hash_algo,
        row.digest,
        row.size,
        row.files,
        row.created,
        (row.uri or "").removeprefix(IMPORTED) if (row.uri or "").startswith(IMPORTED) else None,
        [str(version) for version in versions],
        metrics_of(session, row.id),
        _steps(session, row.id, "OUTPUT", MAKINGS),
        _steps(session, row.id, "INPUT", READERS),
    )


def _steps(session: Session, artifact_id: int, direction: str, rows: int) -> list[Step]:
    ids = select(Event.execution_id).filter_by(artifact_id=artifact_id, direction=direction)
    executions = session.scalars(select(Execution).where(Execution.id.in_(ids)).order_by(Execution.id).limit(rows))
    return [_step(session, execution, artifact_id) for execution in executions]


def _step(session: Session, execution: Execution, artifact_id: int) -> Step:
    events = session.execute(
        select(Event.direction, Event.role, Artifact.id, Artifact.type, Artifact.name, Artifact.digest)
        .join(Artifact, Artifact.id == Event.artifact_id)
        .where(Event.execution_id == execution.id)
        .order_by(Event.id)
    ).all()

    def linked(direction: str) -> Sequence[Linked]:
        return [
            Linked(row.role, row.type, row.name, row.digest)
            for row in events
            if row.direction == direction and row.id != artifact_id
        ]

    experiment, run = execution.mlflow_experiment_id, execution.mlflow_run_id
    return Step(
        execution.stage,
        f"{execution.component.name} {execution.component.version}",
        listing.run_of(session, execution.id),
        execution.started,
        execution.seconds,
        execution.device,
        execution.non_default,
        (experiment, run) if experiment and run else None,
        execution.prefect_flow_run_id,
        list(linked("INPUT")),
        list(linked("OUTPUT")),
    )
