"""The evaluations of a version: the reports of the executions that measured it, and which two may be compared."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from registry.db.schema import Artifact, Association, Event, Execution, ExecutionContext, MetricValue, ModelVersion
from registry.errors import UnknownReference


@dataclass(frozen=True)
class Evaluation:
    """An execution that measured something and left a report.

    Attributes:
        report: the artifact; :func:`registry.store.materialize.materialize_artifact` fetches its files.
        directions: of its metrics, by name: whether higher is better.
        made_with: code, parameters, seed; ``read``: digests of the data it read, by role.
        model: row of the artifact that was measured.
    """

    execution: int
    stage: str
    report: Artifact
    directions: dict[str, bool | None]
    made_with: tuple[str, str, str]
    read: dict[str, str]
    model: int | None = None

    def differences(self, other: Evaluation) -> list[str]:
        """How the other was made differently, such as ``parameters``; two that were made alike have none."""
        parts = ("code", "parameters", "seed")
        found = [part for part, a, b in zip(parts, self.made_with, other.made_with, strict=True) if a != b]
        return found + ([] if self.read == other.read else ["data"])


def evaluations(session: Session, version: ModelVersion) -> list[Evaluation]:
    """Those of a version, the newest first."""
    measured = select(MetricValue.execution_id).filter_by(artifact_id=version.artifact_id)
    return _with_reports(session, select(Execution).where(Execution.id.in_(measured)))


def evaluation_of_run(session: Session, run: str, stage: str) -> Evaluation:
    """What ``stage``, such as ``evaluate@assistant``, measured in a pipeline run; where it was cached, what it took.

    Raises:
        UnknownReference: there is no such run, or it has no report of that stage.
    """
    filed = (
        select(Execution)
        .join(Association, Association.execution_id == Execution.id)
        .join(ExecutionContext, ExecutionContext.id == Association.context_id)
        .where(ExecutionContext.type == "pipeline_run", ExecutionContext.name == run)
    )
    executions = session.scalars(filed).all()
    if not executions:
        raise UnknownReference(f"there is no run {run!r}, nor a model of that name")
    ids = [each.original_id or each.id for each in executions if each.stage == stage]
    found = _with_reports(session, select(Execution).where(Execution.id.in_(ids)))
    if not found:
        stages = ", ".join(sorted({each.stage for each in executions}))
        raise UnknownReference(f"the run {run} has no report of {stage}; its stages: {stages}")
    return found[0]


def report_of(session: Session, execution: int) -> Artifact | None:
    """The report that an execution left, if it left one."""
    return session.scalars(
        select(Artifact)
        .join(Event, Event.artifact_id == Artifact.id)
        .where(Event.execution_id == execution, Event.direction == "OUTPUT", Artifact.type == "report")
    ).first()


def best_pair(a: list[Evaluation], b: list[Evaluation]) -> tuple[Evaluation, Evaluation] | None:
    """The newest two that were made alike, else those that differ in the fewest parts."""
    pairs = [(one, other) for other in b for one in a]
    return min(pairs, key=lambda pair: len(pair[0].differences(pair[1])), default=None)


def _with_reports(session: Session, query: Select[tuple[Execution]]) -> list[Evaluation]:
    found = []
    for execution in session.scalars(query.order_by(Execution.started.desc(), Execution.id.desc())):
        report = report_of(session, execution.id)
        if report is None:
            continue
        rows = session.scalars(select(MetricValue).filter_by(execution_id=execution.id)).all()
        inputs = session.execute(
            select(Event.name, Artifact.digest)
            .join(Artifact, Artifact.id == Event.artifact_id)
            .where(Event.execution_id == execution.id, Event.direction == "INPUT", Artifact.type != "model")
        ).all()
        read = {name: digest for name, digest in inputs}
        made_with = (
            execution.component.spec_digest, json.dumps(execution.parameters, sort_keys=True), str(execution.seed)
        )  # fmt: skip
        directions = {row.name: row.higher_is_better for row in rows}
        found.append(Evaluation(execution.id, execution.stage, report, directions, made_with, read,
                                rows[0].artifact_id if rows else None))  # fmt: skip
    return found
