"""The chain of promotions: each row's hash covers its whole content and the hash of the row before it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.schema import GENESIS, Artifact, ModelVersion, Promotion


@dataclass(frozen=True)
class BrokenLink:
    """The first row at which the chain does not hold, and how.

    Attributes:
        id: of the row in ``promotions``.
        alias: as ``model@alias``.
        why: ``content`` (it is not what was hashed) or ``predecessor`` (the row before it is missing or another one).
    """

    id: int
    alias: str
    why: str


def row_hash(session: Session, row: Promotion) -> str:
    """sha256 of the row's content, by names and digests rather than by ids, and of the hash of the row before."""

    def version(version_id: int | None) -> list[Any] | None:
        found = session.get(ModelVersion, version_id) if version_id is not None else None
        return [found.model.name, found.version, found.artifact.digest] if found is not None else None

    gate = session.get(Artifact, row.gate_artifact_id)
    content = {
        "alias": row.alias,
        "from": version(row.from_version_id),
        "to": version(row.to_version_id),
        "action": row.action,
        "forced": row.forced,
        "passed": row.passed,
        "gate": gate.digest if gate is not None else None,
        "actor": row.actor,
        "reason": row.reason,
        "time": row.time,
        "previous": row.previous_hash,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def broken_link(session: Session) -> BrokenLink | None:
    """The first promotion whose content or predecessor is not what its hash says; ``None`` where the chain holds."""
    previous = GENESIS
    for row in session.scalars(select(Promotion).order_by(Promotion.id)):
        name = f"{row.model.name}@{row.alias}"
        if row.previous_hash != previous:
            return BrokenLink(row.id, name, "predecessor")
        if row.hash != row_hash(session, row) or row.to_version.model_id != row.model_id:
            return BrokenLink(row.id, name, "content")
        previous = row.hash
    return None
