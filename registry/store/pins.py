"""Pins: runs and versions that a collection must not delete, and why."""

from __future__ import annotations

import time

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import text
from core.errors import InputProblem
from registry.db.database import Registry
from registry.db.references import resolve
from registry.db.schema import ExecutionContext, ModelVersion, Pin
from registry.errors import RegistryError, UnknownReference
from registry.lineage.recording import find_or_add, record_context


class PinRefused(RegistryError):
    """The pin has no reason, or there is no such pin."""


def pin(registry: Registry, subject: str, reason: str, actor: str) -> str:
    """Pin the pipeline run or version ``subject``; its name in full.

    Raises:
        UnknownReference: there is neither a run nor a version of that name.
        PinRefused: the reason is empty.
        InputProblem: it is too long or holds control characters.
    """
    if not reason.strip():
        raise PinRefused("a pin needs a reason: --reason TEXT")
    if problems := text.problems("the reason", reason, text.REASON_LIMIT):
        raise InputProblem(problems)
    with registry.write() as session:
        found = _subject(session, subject)
        key = {"context_id": found.id} if isinstance(found, ExecutionContext) else {"version_id": found.id}
        session.add(Pin(**key, reason=reason.strip(), actor=actor, created=time.time(), released=None))
        return _name(found)


def unpin(registry: Registry, subject: str) -> str:
    """Release every pin of ``subject``; its name in full.

    Raises:
        UnknownReference, PinRefused: there is no such run or version, or it is not pinned.
    """
    with registry.write() as session:
        found = _subject(session, subject)
        pins = [row for row in active(session) if (row.context or row.version) is found]
        if not pins:
            raise PinRefused(f"{_name(found)} is not pinned; `stemma pin` lists what is")
        for row in pins:
            row.released = time.time()
        return _name(found)


def keep(registry: Registry, run: str, reason: str, actor: str) -> None:
    """Pin a pipeline run for the program ``actor``, once, until :func:`release` or a person's :func:`unpin`."""
    with registry.write() as session:
        key = {"context_id": record_context(session, run).id, "actor": actor, "released": None}
        find_or_add(session, Pin, key, reason=reason, created=time.time())


def release(registry: Registry, run: str, actor: str) -> None:
    """End what :func:`keep` began, where it has not ended yet; pins of others stay."""
    with registry.write() as session:
        for row in active(session):
            if row.actor == actor and row.context is not None and row.context.name == run:
                row.released = time.time()


def active(session: Session) -> list[Pin]:
    """Pins that were not released, oldest first."""
    return list(session.scalars(select(Pin).where(Pin.released.is_(None)).order_by(Pin.id)))


def name_of(row: Pin) -> str:
    """The run or version that a pin keeps."""
    return _name(row.context or row.version)


def _subject(session: Session, name: str) -> ExecutionContext | ModelVersion:
    run = session.scalars(select(ExecutionContext).filter_by(type="pipeline_run", name=name)).first()
    if run is not None:
        return run
    try:
        return resolve(session, name)
    except UnknownReference as error:
        raise UnknownReference(f"{name} is neither a run nor a version: {error}") from None


def _name(found: ExecutionContext | ModelVersion | None) -> str:
    return f"run {found.name}" if isinstance(found, ExecutionContext) else str(found)
