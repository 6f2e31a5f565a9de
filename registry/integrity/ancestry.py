"""Signatures of a version and of every model it descends from, as far as they were signed."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.workspace import Workspace
from registry.db.database import Registry
from registry.db.schema import Artifact, ModelVersion
from registry.errors import InvalidBytes, KeyProblem, MissingBytes
from registry.integrity.verification import signatures_of, verify_version
from registry.lineage.trace import trace
from registry.promotion.gate import Check

NAME = "signatures valid"


def check_signatures(workspace: Workspace, registry: Registry, candidate: str) -> Check:
    """Verify the candidate's signatures, if it has been signed, and those of its signed ancestors, bytes included.

    An ancestor whose bytes are no longer here cannot be verified; that is told, and is no fault.
    """
    with registry.read() as session:
        signed = _signed(session, candidate)
    held, absent = [], []
    for name in signed:
        try:
            verify_version(workspace, registry, name)
            held.append(name)
        except MissingBytes:
            absent.append(name)
        except (InvalidBytes, KeyProblem) as error:
            return Check(NAME, False, str(error))
    told = [f"{', '.join(held)} verified" if held else "neither it nor a model it descends from was signed before"]
    if absent:
        told.append(f"not verified, for their files are not here: {', '.join(absent)}")
    return Check(NAME, True, "; ".join(told))


def _signed(session: Session, reference: str) -> list[str]:
    """Signed versions among the candidate and its ancestors, the candidate first."""
    digests = [node.digest for node in trace(session, reference).artifacts() if node.type == "model"]
    rows = session.scalars(
        select(ModelVersion).join(Artifact, Artifact.id == ModelVersion.artifact_id).where(Artifact.digest.in_(digests))
    ).all()
    rows = sorted(rows, key=lambda row: digests.index(row.artifact.digest))
    return [str(row) for row in rows if signatures_of(session, row)]
