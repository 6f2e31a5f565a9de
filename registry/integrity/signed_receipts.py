"""Whether what the registry says of an execution is what the harness signed in its receipt."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import keys
from registry.db.schema import Artifact, Event, Execution, MetricValue, SignedReceipt, SignedStatement
from registry.integrity.statements import START, adopted_digest
from registry.lineage.receipts import Receipt, StageRecord, finite
from registry.lineage.recording import details

LATER = ("mlflow_run_id", "mlflow_experiment_id")  # found after the receipt was written
Trusted = dict[str, str]


def problem(record: StageRecord, trusted: Trusted) -> str | None:
    """Why a stage's receipt must not be recorded: it is not what was signed."""
    if record.signed is None or record.signed.key_id not in trusted:
        return None  # recorded, and refused by the gate
    if keys.fault(trusted, record.signed) is None:
        return None
    return (
        f"receipts of {record.stage}: edited after it was signed, so it is not recorded; bring it back with git or "
        f"`dvc checkout`, or make it again: dvc repro --force --single-item {record.stage}"
    )


def adopted(session: Session, trusted: Trusted) -> tuple[int, str | None]:
    """(the last execution that was there when signatures began, what has changed among those since)."""
    row = session.scalars(select(SignedStatement).filter_by(kind=START).order_by(SignedStatement.id)).first()
    if row is None:
        return 0, None
    if (why := keys.fault(trusted, row.signed)) is not None:
        return 0, f"the start of signatures: {why}"
    body = row.signed.said
    newest = int(body["executions"])
    if newest and adopted_digest(session, newest) != body["digest"]:
        return newest, "an execution from before signatures, or a metric of it, is not what was adopted"
    return newest, None


def faults(
    session: Session, trusted: Trusted, executions: Iterable[Execution], newest: int
) -> list[tuple[Execution, str]]:
    """The finished executions whose signed receipt is missing, does not hold or says otherwise, and why.

    Args:
        newest: of :func:`adopted`; what was there before needs no receipt.
    """
    found = []
    for execution in executions:
        if execution.state != "COMPLETE":
            continue
        row = session.get(SignedReceipt, execution.id)
        if row is None:
            if execution.id > newest:
                found.append(
                    (execution, "its receipt carries no signature: it was edited, or the harness did not write it")
                )
            continue
        why = keys.fault(trusted, row.signed) or _difference(session, execution, row.body)
        if why is not None:
            found.append((execution, why))
    return found


def _difference(session: Session, execution: Execution, body: str) -> str | None:
    """What the registry says otherwise than the receipt."""
    try:
        receipt = finite(Receipt.model_validate(json.loads(body)), "", [])
    except (ValidationError, ValueError):
        return "what was signed is no receipt"
    said: dict[str, Any] = {"stage": receipt.stage, **details(receipt)}
    now = {name: getattr(execution, name) for name in said}
    parts = [f"{name} is {_short(now[name])}, the receipt says {_short(said[name])}"
             for name in said if name not in LATER and now[name] != said[name]]  # fmt: skip
    held = select(Event.direction, Event.name, Artifact.digest).join(Artifact, Artifact.id == Event.artifact_id)
    digests = {
        (way, name): digest for way, name, digest in session.execute(held.where(Event.execution_id == execution.id))
    }
    for way, items in (("INPUT", receipt.inputs), ("OUTPUT", receipt.outputs)):
        for item in items:
            there = digests.get((way, item.name))
            if item.digest is not None and there != item.digest:
                parts.append(f"{way.lower()} {item.name} is {there}, the receipt says {item.digest}")
    measured = {metric.name: metric for metric in receipt.metrics}
    for row in session.scalars(select(MetricValue).filter_by(execution_id=execution.id).order_by(MetricValue.name)):
        metric = measured.get(row.name)
        names = ("value", "stderr", "n", "higher_is_better", "baselines")
        if metric is None:
            parts.append(f"metric {row.name} is not in the receipt")
        elif differing := [name for name in names if getattr(row, name) != getattr(metric, name)]:
            was = ", ".join(f"{name} {getattr(row, name)!r} instead of {getattr(metric, name)!r}" for name in differing)
            parts.append(f"metric {row.name}: {was}")
    return "; ".join(parts) or None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]} ..."
