"""What serves a version, from when to when: written by the gateway, read by impact, collection and audits.

A deployment ends as STOPPED where it was stopped, as FAILED where it never answered or died.
"""

from __future__ import annotations

import time
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.database import Registry
from registry.db.schema import Deployment

State = Literal["STARTING", "SERVING", "STOPPED", "FAILED"]
ENDED = ("STOPPED", "FAILED")


def start(registry: Registry, name: str, version_id: int, url: str | None = None) -> int:
    """Record that ``name`` is about to serve a version.

    Returns:
        id of the row, for :func:`move`.
    """
    with registry.write() as session:
        row = Deployment(
            name=name[:100], version_id=version_id, url=url, state="STARTING", started=time.time(), ended=None
        )
        session.add(row)
        session.flush()
        return row.id


def move(registry: Registry, deployment_id: int, state: State) -> None:
    """Record its new state; STOPPED and FAILED end it."""
    with registry.write() as session:
        row = session.get_one(Deployment, deployment_id)
        row.state, row.ended = state, time.time() if state in ENDED else None


def close_left(registry: Registry, name: str) -> int:
    """End what ``name`` left open when it was killed; to be called by the one process that has the name now.

    Returns:
        how many rows.
    """
    with registry.write() as session:
        left = session.scalars(
            select(Deployment).where(Deployment.name == name[:100], Deployment.ended.is_(None))
        ).all()
        for row in left:
            row.state, row.ended = "STOPPED", time.time()
        return len(left)


def of_version(session: Session, version_id: int, rows: int = 20) -> list[Deployment]:
    """The deployments of a version, the newest first."""
    query = select(Deployment).filter_by(version_id=version_id).order_by(Deployment.id.desc()).limit(rows)
    return list(session.scalars(query))
