"""The chain of promotions: each row's hash covers its whole content and the hash of the row before it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from registry.db.schema import GENESIS, Artifact, ModelVersion, Promotion, RegisteredModel

Named = tuple[str, int, str]  # a version: model, number, digest


@dataclass(frozen=True)
class Link:
    """A row of ``promotions`` by names and digests rather than by ids, so that no table it refers to can change it."""

    id: int
    model: str
    alias: str
    source: Named | None
    target: Named
    action: str
    forced: bool
    passed: bool
    verdict: str
    actor: str
    reason: str
    time: str
    previous: str
    hash: str

    def content(self) -> dict[str, Any]:
        """What the hash covers."""
        return {
            "alias": self.alias,
            "from": list(self.source) if self.source else None,
            "to": list(self.target),
            "action": self.action,
            "forced": self.forced,
            "passed": self.passed,
            "gate": self.verdict,
            "actor": self.actor,
            "reason": self.reason,
            "time": self.time,
            "previous": self.previous,
        }

    def __str__(self) -> str:
        return f"promotion {self.id} ({self.model}@{self.alias})"


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


def links(session: Session) -> list[Link]:
    """Every promotion in one query, oldest first; a row that refers to nothing is left out, which breaks the chain."""
    source, target, gate = aliased(ModelVersion), aliased(ModelVersion), aliased(Artifact)
    of_source, of_target = aliased(Artifact), aliased(Artifact)
    from_model, to_model = aliased(RegisteredModel), aliased(RegisteredModel)
    own = Promotion
    columns = (own.id, own.alias, own.action, own.forced, own.passed, own.actor, own.reason, own.time)
    rows = session.execute(
        select(*columns, own.previous_hash, own.hash, RegisteredModel.name, gate.digest,
               to_model.name, target.version, of_target.digest, from_model.name, source.version, of_source.digest)
        .join(RegisteredModel, RegisteredModel.id == own.model_id)
        .join(gate, gate.id == own.gate_artifact_id)
        .join(target, target.id == own.to_version_id)
        .join(of_target, of_target.id == target.artifact_id)
        .join(to_model, to_model.id == target.model_id)
        .outerjoin(source, source.id == own.from_version_id)
        .outerjoin(of_source, of_source.id == source.artifact_id)
        .outerjoin(from_model, from_model.id == source.model_id)
        .order_by(own.id)
    )  # fmt: skip
    return [
        Link(id_, model, alias, (before, number, digest) if number is not None else None, (to, to_number, to_digest),
             action, forced, passed, verdict, actor, reason, time, previous, hash_)
        for (id_, alias, action, forced, passed, actor, reason, time, previous, hash_, model, verdict,
             to, to_number, to_digest, before, number, digest) in rows
    ]  # fmt: skip


def link_of(session: Session, row: Promotion) -> Link:
    """A row that is not in the database yet."""

    def version(version_id: int | None) -> Named | None:
        found = session.get(ModelVersion, version_id) if version_id is not None else None
        return (found.model.name, found.version, found.artifact.digest) if found is not None else None

    model, gate = session.get_one(RegisteredModel, row.model_id), session.get_one(Artifact, row.gate_artifact_id)
    target = version(row.to_version_id)
    assert target is not None
    return Link(
        row.id or 0, model.name, row.alias, version(row.from_version_id), target, row.action, row.forced, row.passed,
        gate.digest, row.actor, row.reason, row.time, row.previous_hash, row.hash or "",
    )  # fmt: skip


def hash_of(link: Link) -> str:
    """sha256 of the row's content and of the hash of the row before."""
    return hashlib.sha256(json.dumps(link.content(), sort_keys=True).encode()).hexdigest()


def broken_link(rows: list[Link]) -> BrokenLink | None:
    """The first promotion whose content or predecessor is not what its hash says; ``None`` where the chain holds."""
    previous = GENESIS
    for row in rows:
        name = f"{row.model}@{row.alias}"
        if row.previous != previous:
            return BrokenLink(row.id, name, "predecessor")
        if row.hash != hash_of(row) or row.target[0] != row.model:
            return BrokenLink(row.id, name, "content")
        previous = row.hash
    return None
