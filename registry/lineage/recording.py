"""Writing finished stages into the tables. Every function may be repeated: what is there is found, not added."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.db.schema import (
    IMPORTED,
    Artifact,
    Association,
    Base,
    ComponentVersion,
    Event,
    Execution,
    ExecutionContext,
    MetricValue,
    ModelVersion,
    RegisteredModel,
    SignedReceipt,
)
from registry.lineage.receipts import Bytes, Receipt, StageRecord

Row = TypeVar("Row", bound=Base)


def find_or_add(session: Session, kind: type[Row], key: Mapping[str, Any], **values: Any) -> tuple[Row, bool]:
    """(row, whether it is new). Safe because writing sessions queue; the unique constraints stand behind it."""
    row = session.scalars(select(kind).filter_by(**key)).first()
    if row is not None:
        return row, False
    row = kind(**key, **values)
    session.add(row)
    session.flush()
    return row, True


def record_artifact(session: Session, item: Bytes) -> Artifact:
    row, _ = find_or_add(
        session,
        Artifact,
        {"type": item.type, "hash_algo": item.algo, "digest": item.digest},
        name=item.path,
        size=item.size,
        files=item.files,
        uri=f"{IMPORTED}{item.origin}" if item.origin else f"dvc:{item.path}",
        created=time.time(),
    )
    return row


def record_context(session: Session, name: str, *, mlflow_run_id: str | None = None) -> ExecutionContext:
    """The pipeline run ``name``."""
    row, _ = find_or_add(
        session,
        ExecutionContext,
        {"type": "pipeline_run", "name": name},
        created=time.time(),
        summary=None,
        mirrored=True,
    )
    if mlflow_run_id and not row.mlflow_run_id:
        row.mlflow_run_id = mlflow_run_id
    return row


def associate(session: Session, context: ExecutionContext, execution: Execution) -> None:
    find_or_add(session, Association, {"context_id": context.id, "execution_id": execution.id})


def record_execution(session: Session, record: StageRecord) -> tuple[Execution, bool, list[ModelVersion]]:
    """The execution that made the stage's bytes, with its events, metrics and model versions.

    Returns:
        The execution, whether it is new, and the model versions that are new.
    """
    receipt = record.receipt
    component = _component(session, receipt)
    execution, new = find_or_add(
        session,
        Execution,
        {"key": execution_key(record.stage, receipt)},
        component_id=component.id,
        stage=record.stage,
        state="COMPLETE",
        **details(receipt),
    )
    if new and record.signed is not None:
        signed = record.signed
        session.add(
            SignedReceipt(execution_id=execution.id, body=signed.body, key_id=signed.key_id, signature=signed.signature)
        )
    artifacts: dict[tuple[str, str], Artifact] = {}
    # What a skipped stage leaves is empty, and the same for all of them: it is no artifact of any.
    made = () if receipt.skipped else record.outputs
    for direction, items in (("INPUT", record.inputs), ("OUTPUT", made)):
        for item in items:
            artifact = artifacts[direction, item.name] = record_artifact(session, item)
            find_or_add(
                session,
                Event,
                {"execution_id": execution.id, "direction": direction, "name": item.name},
                artifact_id=artifact.id,
                role=item.role,
                path=item.path,
            )
    versions = [
        version
        for item in made
        if item.registered_model
        for version in record_version(session, item.registered_model, artifacts["OUTPUT", item.name], execution)
    ]
    _record_metrics(session, record, execution, artifacts)
    return execution, new, versions


def execution_key(stage: str, receipt: Receipt) -> str:
    """The key under which the execution that left a receipt is recorded, once."""
    return _digest("execution", stage, receipt.fingerprint, repr(receipt.started))


def record_failure(session: Session, receipt: Receipt) -> tuple[Execution, bool]:
    """An execution that failed, with what it read; (row, whether it is new). It made nothing."""
    execution, new = find_or_add(
        session,
        Execution,
        {"key": _digest("failed", receipt.stage, receipt.fingerprint, repr(receipt.started))},
        component_id=_component(session, receipt).id,
        stage=receipt.stage,
        state="FAILED",
        error=receipt.error,
        **details(receipt),
    )
    for item in receipt.inputs if new else ():
        if item.digest is not None:
            read = Bytes(item.name, item.path, item.type, item.role, "md5", item.digest, item.size, None)
            session.add(
                Event(execution_id=execution.id, artifact_id=record_artifact(session, read).id, direction="INPUT",
                      name=item.name, role=item.role, path=item.path)
            )  # fmt: skip
    return execution, new


def record_version(session: Session, name: str, artifact: Artifact, execution: Execution) -> Iterable[ModelVersion]:
    """The new version of the registered model, if these bytes are new to it."""
    model, _ = find_or_add(session, RegisteredModel, {"name": name}, created=time.time())
    newest = session.scalar(select(func.max(ModelVersion.version)).filter_by(model_id=model.id))
    version, new = find_or_add(
        session,
        ModelVersion,
        {"model_id": model.id, "artifact_id": artifact.id},
        version=1 + (newest or 0),
        execution_id=execution.id,
        created=execution.ended or time.time(),
        mlflow_version=None,
    )
    return [version] if new else []


def record_cached(session: Session, context: ExecutionContext, original: Execution) -> tuple[Execution, bool]:
    """That a stage of a pipeline run needed no work, because ``original`` had done it."""
    copied = {
        column.name: getattr(original, column.name)
        for column in Execution.__table__.columns
        if column.name
        in ("component_id", "stage", "fingerprint", "parameters", "non_default", "seed", "git_commit", "git_dirty")
    }
    return find_or_add(
        session,
        Execution,
        {"key": _digest("cached", context.name, original.key)},
        state="CACHED",
        original_id=original.id,
        environment={},
        warnings=[],
        tokens=0,
        gpu_seconds=0.0,
        seconds=0.0,
        **copied,
    )


def _component(session: Session, receipt: Receipt) -> ComponentVersion:
    described = receipt.component
    key = {"name": described.name, "version": described.version, "spec_digest": described.code_digest}
    return find_or_add(session, ComponentVersion, key)[0]


def details(receipt: Receipt) -> dict[str, Any]:
    """The columns of an execution that its receipt decides."""
    seconds = receipt.seconds
    on_gpu = bool(receipt.device) and not receipt.device.startswith("cpu")
    return {
        "fingerprint": receipt.fingerprint,
        "parameters": receipt.parameters,
        "non_default": receipt.non_default,
        "environment": receipt.environment,
        "warnings": receipt.warnings,
        "git_commit": receipt.git.commit,
        "git_dirty": receipt.git.dirty,
        "mlflow_run_id": receipt.mlflow.run_id,
        "mlflow_experiment_id": receipt.mlflow.experiment_id,
        "prefect_flow_run_id": receipt.prefect.flow_run_id,
        "prefect_task_run_id": receipt.prefect.task_run_id,
        "seed": receipt.seed,
        "device": receipt.device,
        "processes": receipt.processes,
        "tokens": receipt.tokens,
        "gpu_seconds": seconds * (receipt.processes or 1) if on_gpu and seconds is not None else 0.0,
        "started": receipt.started,
        "ended": receipt.ended,
        "seconds": seconds,
    }


def _record_metrics(
    session: Session, record: StageRecord, execution: Execution, artifacts: Mapping[tuple[str, str], Artifact]
) -> None:
    subject = _subject(record)
    if subject is None or record.receipt.skipped:
        return
    for metric in record.receipt.metrics:
        eval_set = artifacts.get(("INPUT", metric.eval_set)) if metric.eval_set else None
        find_or_add(
            session,
            MetricValue,
            {"execution_id": execution.id, "name": metric.name},
            artifact_id=artifacts[subject].id,
            eval_set_artifact_id=eval_set.id if eval_set else None,
            value=metric.value,
            stderr=metric.stderr,
            n=metric.n,
            higher_is_better=metric.higher_is_better,
            baselines=metric.baselines,
            headline=metric.name == record.receipt.headline,
        )


def _subject(record: StageRecord) -> tuple[str, str] | None:
    """What a stage's metrics are about: the model it made, else its first output, else the model it read."""
    made = [("OUTPUT", item.name) for item in record.outputs if item.type == "model"]
    read = [("INPUT", item.name) for item in record.inputs if item.type == "model"]
    other = [("OUTPUT", item.name) for item in record.outputs if item.type != "report"]
    reports = [("OUTPUT", item.name) for item in record.outputs]
    return next(iter(made + other + read + reports), None)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
