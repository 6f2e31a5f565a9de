"""What is signed about the history of promotions: where it starts, and each decision with the metrics it rests on.

The chain of hashes alone proves nothing against somebody who can write the database: a whole new chain is quickly made.
Each decision is therefore signed by the home's key, and the last signature covers, by the hashes, every row before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import KeyProblem
from core.keys import Signed, canonical, key_path, lost, sign_text
from core.workspace import Workspace
from registry.db.schema import (
    GENESIS,
    Artifact,
    Execution,
    MetricValue,
    ModelVersion,
    Promotion,
    Signature,
    SignedReceipt,
    SignedStatement,
)
from registry.errors import UnsoundHistory
from registry.integrity import anchor
from registry.integrity.chain import Link, link_of, links

START, PROMOTION = "start", "promotion"


def begin(workspace: Workspace, session: Session) -> None:
    """Sign what is there when signatures begin: nothing in a new workspace, the rows of older versions in an old one.

    Raises:
        UnsoundHistory: the repository knows a history that this database lacks.
        KeyProblem: there is no key to sign with.
    """
    if session.scalars(select(SignedStatement.id).limit(1)).first() is not None:
        return
    if (known := anchor.newest(workspace.root)) is not None:
        raise UnsoundHistory(lost_history(known))
    rows, newest = links(session), session.scalar(select(func.max(Execution.id))) or 0
    body = {
        "kind": START,
        "note": "adopted, unsigned before",
        "promotions": len(rows),
        "head": rows[-1].hash if rows else GENESIS,
        "executions": newest,
        "digest": adopted_digest(session, newest),
        "time": datetime.now(UTC).isoformat(timespec="microseconds"),
    }
    _add(workspace, session, START, body, None)


def sign_promotion(workspace: Workspace, session: Session, row: Promotion) -> None:
    """Sign a row that was just added, and the metrics of the two versions it is about."""
    session.flush()
    number = session.scalar(select(func.count()).select_from(Promotion)) or 0
    body = {**promotion_body(link_of(session, row), number), "metrics": _metrics(session, row)}
    _add(workspace, session, PROMOTION, body, row.id)


def promotion_body(link: Link, number: int) -> dict[str, Any]:
    """What is signed of a row, but for the metrics; ``number`` counts from 1."""
    return {"kind": PROMOTION, "number": number, "model": link.model, "hash": link.hash, **link.content()}


def require_key(workspace: Workspace, session: Session) -> None:
    """Refuse to make a new key silently where the registry holds what another one signed.

    Raises:
        KeyProblem: the key is lost.
    """
    path = key_path(workspace)
    if path.exists():
        return
    for kind, what in ((SignedStatement, "promotions"), (Signature, "versions")):
        if session.scalars(select(kind.id).limit(1)).first() is not None:
            raise KeyProblem(lost(path, f"the registry holds {what} that it signed"))


def differing_metrics(session: Session, signed: Iterable[dict[str, Any]]) -> list[str]:
    """Where the metrics that a statement names are not those of the registry, one line each."""
    found = []
    for metric in signed:
        row = session.scalars(
            select(MetricValue).join(Execution, Execution.id == MetricValue.execution_id)
            .where(Execution.key == metric["execution"], MetricValue.name == metric["name"])
        ).first()  # fmt: skip
        name = f"{metric['stage']}.{metric['name']}"
        now = metric_body(row) if row is not None else None
        if now is None:
            found.append(f"{name}: {metric['value']!r} was signed, the registry has none")
        elif now != {key: metric.get(key) for key in now}:
            parts = [f"{key} {now[key]!r}, signed {metric.get(key)!r}" for key in now if now[key] != metric.get(key)]
            found.append(f"{name}: the registry has {', '.join(parts)}")
    return found


def metric_body(row: MetricValue) -> dict[str, Any]:
    """What is signed of a metric."""
    return {
        "execution": row.execution.key,
        "stage": row.execution.stage,
        "name": row.name,
        "value": row.value,
        "stderr": row.stderr,
        "n": row.n,
        "higher_is_better": row.higher_is_better,
        "eval_set": row.eval_set.digest if row.eval_set else None,
    }


def metrics_of(session: Session, version: ModelVersion) -> list[dict[str, Any]]:
    """Every metric of a version's files, as it is signed."""
    rows = session.scalars(
        select(MetricValue)
        .filter_by(artifact_id=version.artifact_id)
        .order_by(MetricValue.execution_id, MetricValue.name)
    )
    return [metric_body(row) for row in rows]


def execution_body(execution: Execution) -> dict[str, Any]:
    """What is signed of an execution."""
    return {
        "key": execution.key,
        "stage": execution.stage,
        "fingerprint": execution.fingerprint,
        "parameters": hashlib.sha256(canonical(execution.parameters).encode()).hexdigest(),
        "seed": execution.seed,
        "commit": execution.git_commit,
    }


def adopted_digest(session: Session, newest: int) -> str:
    """sha256 over every finished execution up to ``newest`` that has no signed receipt, and its metrics."""
    own = Execution
    covered = (own.id <= newest, own.state == "COMPLETE", own.id.not_in(select(SignedReceipt.execution_id)))
    columns = (own.key, own.stage, own.fingerprint, own.parameters, own.seed, own.git_commit)
    total = hashlib.sha256()
    for row in session.execute(select(*columns).where(*covered).order_by(own.id)):
        total.update(canonical(list(row)).encode())
    metric = MetricValue
    measured = (own.key, metric.name, metric.value, metric.stderr, metric.n, Artifact.digest)
    rows = (
        select(*measured)
        .join(own, own.id == metric.execution_id)
        .outerjoin(Artifact, Artifact.id == metric.eval_set_artifact_id)
        .where(*covered)
        .order_by(own.id, metric.id)
    )
    for row in session.execute(rows):
        total.update(canonical(list(row)).encode())
    return total.hexdigest()


def lost_history(newest: Signed) -> str:
    """The message for a database that lacks what the repository knows, up to its ``newest`` entry."""
    return (
        f"{anchor.HISTORY} knows a history that this database lacks (its last entry: {anchor.subject(newest)}): the "
        "database was deleted, replaced, or restored from an older back-up. Restore one that is new enough "
        "(`stemma backup restore`). Without one, versions, metrics and lineage can be rebuilt and promotions not: see "
        "'A lost registry' in docs/lineage.md"
    )


def _metrics(session: Session, row: Promotion) -> list[dict[str, Any]]:
    versions = [session.get_one(ModelVersion, row.to_version_id)]
    if row.from_version_id is not None and row.from_version_id != row.to_version_id:
        versions.append(session.get_one(ModelVersion, row.from_version_id))
    return [{"of": str(version), **metric} for version in versions for metric in metrics_of(session, version)]


def _add(workspace: Workspace, session: Session, kind: str, body: dict[str, Any], promotion_id: int | None) -> None:
    require_key(workspace, session)
    signed = sign_text(workspace, canonical(body))
    session.add(
        SignedStatement(
            kind=kind, promotion_id=promotion_id, body=signed.body, key_id=signed.key_id, signature=signed.signature
        )
    )
    session.flush()
