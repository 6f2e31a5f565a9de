"""The promotions: the chain of their hashes, and the verdicts' files, which say the same things a second time."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.workspace import Workspace
from registry.db.schema import Context, Promotion
from registry.integrity.audit.findings import AuditReport, Finding
from registry.integrity.chain import broken_link
from registry.promotion.releases import RELEASE


def check_decisions(workspace: Workspace, session: Session, report: AuditReport) -> None:
    """Add what is wrong with the promotions."""
    report.promotions = session.scalar(select(func.count()).select_from(Promotion)) or 0
    rows = session.scalars(select(Promotion).order_by(Promotion.id)).all()
    link = broken_link(session)
    for row in rows:
        subject = f"promotion {row.id} ({row.model.name}@{row.alias})"
        differences, unreadable = _against_its_verdict(workspace, row)
        if link is not None and link.id == row.id:
            if link.why == "predecessor":
                detail = "the row before it is not the one it was written after: one was removed or put between"
            else:
                detail = "it does not say what was hashed when it was written: " + (
                    "; ".join(differences) or "its time, or the version it names, was altered"
                )
            report.findings.append(Finding("chain", subject, "wrong", f"{detail}; restore the registry from a backup"))
        elif differences:
            report.findings.append(Finding("verdict", subject, "wrong", "; ".join(differences)))
        if unreadable:
            report.findings.append(Finding("verdict", subject, *unreadable))
    known = {row.hash for row in rows}
    for name in session.scalars(select(Context.name).where(Context.type == RELEASE).order_by(Context.id)):
        if name not in known and (link is None or link.why != "content"):
            detail = "it was recorded and is gone: its row was deleted; restore the registry from a backup"
            report.findings.append(Finding("chain", f"promotion with hash {name[:12]}", "wrong", detail))


def _against_its_verdict(workspace: Workspace, row: Promotion) -> tuple[list[str], tuple[Any, str] | None]:
    """(what the row says otherwise than its verdict's file, why that file cannot be asked)."""
    path = workspace.home / row.gate.name
    if not path.is_file():
        return [], ("missing", f"its verdict {path} is not there")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != row.gate.digest:
        return [], ("wrong", f"its verdict {path} was altered; restore it from a backup")
    verdict = json.loads(content)
    said = {
        "model": row.model.name,
        "version": row.to_version.version,
        "digest": row.to_version.artifact.digest,
        "alias": row.alias,
        "champion": row.from_version.version if row.from_version else None,
        "passed": row.passed,
    }
    kept = {name: verdict.get(name) for name in said}
    request = verdict.get("request") or {}  # the first release kept none
    said |= {name: getattr(row, name) for name in request}
    kept |= request
    other = [name for name in said if said[name] != kept[name]]
    return [f"{name} is {said[name]!r}, the verdict says {kept[name]!r}" for name in other], None
