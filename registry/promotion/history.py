"""Every decision about a model, as it was recorded, with the gate's verdict."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import layout
from core.workspace import Workspace
from registry.db.references import find_model
from registry.db.schema import ModelVersion, Promotion


@dataclass
class PromotionRecord:
    """One row of a model's history."""

    time: str
    action: str
    model: str
    version: int
    previous: int | None
    alias: str
    passed: bool
    forced: bool
    actor: str
    reason: str
    gate: str
    hash: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def history(session: Session, model: str) -> list[PromotionRecord]:
    """Every promotion, rollback and rejected candidate of a model, oldest first."""
    rows = session.scalars(select(Promotion).filter_by(model_id=find_model(session, model).id).order_by(Promotion.id))
    return [_record(row) for row in rows]


def decisions(
    session: Session, model: str, version: int | None = None, *, skip: int = 0, rows: int = 50
) -> list[PromotionRecord]:
    """As :func:`history`, the newest first and a screenful of them; those that gave a version an alias, or refused to.

    Raises:
        UnknownReference: there is no such model.
    """
    query = select(Promotion).filter_by(model_id=find_model(session, model).id).order_by(Promotion.id.desc())
    if version is not None:
        query = query.join(ModelVersion, ModelVersion.id == Promotion.to_version_id).filter_by(version=version)
    return [_record(row) for row in session.scalars(query.offset(skip).limit(rows))]


def _record(row: Promotion) -> PromotionRecord:
    return PromotionRecord(
        row.time,
        row.action,
        row.model.name,
        row.to_version.version,
        row.from_version.version if row.from_version else None,
        row.alias,
        row.passed,
        row.forced,
        row.actor,
        row.reason,
        row.gate.digest,
        row.hash,
    )


def verdict_of(workspace: Workspace, record: PromotionRecord) -> dict[str, Any] | None:
    """The gate's verdict on a candidate, as it was recorded; ``None`` where its file is missing or was changed."""
    path = layout.verdicts(workspace.home) / f"{record.gate}.json"
    content = path.read_bytes() if path.is_file() else b""
    verdict: dict[str, Any] | None = json.loads(content) if hashlib.sha256(content).hexdigest() == record.gate else None
    return verdict
