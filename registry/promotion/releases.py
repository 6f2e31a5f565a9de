"""Promotions in MLflow: a run of its own for each, with the gate's verdict and the model's family tree.

The release is a context of the registry, written with the promotion's row, so that MLflow gets it as soon as it can be
reached.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.schema import ExecutionContext, Promotion
from registry.lineage.family_tree import write_figure
from registry.lineage.recording import find_or_add
from registry.lineage.trace import trace

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from core.workspace import Workspace
    from registry.db.database import Registry

RELEASE = "release"  # type of the context
EXPERIMENT = "stemma-promotions"
TAG = "stemma.promotion"  # the row's hash


def record_release(session: Session, row: Promotion) -> None:
    """Note that MLflow has to get a promotion."""
    find_or_add(
        session,
        ExecutionContext,
        {"type": RELEASE, "name": row.hash},
        created=time.time(),
        summary=None,
        mirrored=False,
    )


def pending_releases(session: Session) -> list[tuple[int, Promotion]]:
    """(context's id, promotion) that MLflow does not have yet, oldest first."""
    rows = session.execute(
        select(ExecutionContext.id, Promotion)
        .join(Promotion, Promotion.hash == ExecutionContext.name)
        .where(ExecutionContext.type == RELEASE, ExecutionContext.mirrored.is_(False))
        .order_by(Promotion.id)
    ).all()
    for _, promotion in rows:
        _ = promotion.to_version, promotion.gate
    return [(context, promotion) for context, promotion in rows]


def title(promotion: Promotion) -> str:
    """A promotion in a few words."""
    return f"{promotion.action} {promotion.to_version} to @{promotion.alias}"


def mirror_release(
    client: MlflowClient, workspace: Workspace, registry: Registry, experiment: str, context_id: int, row: Promotion
) -> None:
    """Make the promotion's run, with ``gate.json`` and ``lineage.svg``; one that is there already is completed."""
    found = client.search_runs([experiment], f"tags.`{TAG}` = '{row.hash}'", max_results=1)
    if found:
        run_id = found[0].info.run_id
    else:
        tags = {
            TAG: row.hash,
            "stemma.model": row.model.name,
            "stemma.version": str(row.to_version.version),
            "stemma.digest": row.to_version.artifact.digest,
            "stemma.alias": row.alias,
            "stemma.action": row.action,
            "stemma.forced": str(row.forced).lower(),
            "stemma.actor": row.actor[:5000],
            "mlflow.note.content": row.reason[:5000],
        }
        run_id = client.create_run(experiment, tags=tags, run_name=title(row)).info.run_id
    with TemporaryDirectory(prefix="stemma-release-") as folder:
        gate = workspace.home / row.gate.name
        if gate.is_file():
            copy = Path(folder) / "gate.json"
            copy.write_bytes(gate.read_bytes())
            client.log_artifact(run_id, str(copy))
        figure = Path(folder) / "lineage.svg"
        with registry.read() as session:
            write_figure(trace(session, str(row.to_version)), figure)
        client.log_artifact(run_id, str(figure))
    client.set_terminated(run_id)
    with registry.write() as session:
        context = session.get_one(ExecutionContext, context_id)
        context.mirrored, context.mlflow_run_id = True, run_id
