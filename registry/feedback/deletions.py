"""What a person, or a conversation, left in the registry; its deletion, and the record that stays of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from registry.db.database import Registry
from registry.db.schema import Deletion, KeptAnswer, Vote


@dataclass(frozen=True)
class DeletionSubject:
    """Whose rows: a person's, by the name of the key, or those of one conversation."""

    person: str | None = None
    conversation: str | None = None

    def __str__(self) -> str:
        return f"conversation {self.conversation}" if self.person is None else self.person


def rows_of(session: Session, subject: DeletionSubject) -> list[KeptAnswer | Vote]:
    """Answers, then votes (of a person alone: a vote is no part of a conversation), the oldest first."""
    if subject.person is None:
        answers = select(KeptAnswer).filter_by(conversation=subject.conversation)
        return list(session.scalars(answers.order_by(KeptAnswer.id)))
    person = subject.person[:100]
    found = list(session.scalars(select(KeptAnswer).filter_by(person=person).order_by(KeptAnswer.id)))
    return [*found, *session.scalars(select(Vote).filter_by(voter=person).order_by(Vote.id))]


def remove(
    registry: Registry,
    subject: DeletionSubject,
    pseudonym: str,
    actor: str,
    files: Sequence[str],
    versions: Sequence[str],
) -> int:
    """Delete the rows, and record that; how many they were.

    Args:
        pseudonym: keyed hash that stands for the subject in the record.
        actor: who deletes.
        files: md5 of every exported file that held such rows.
        versions: models that descend from these.
    """
    with registry.write() as session:
        rows, hashed = rows_of(session, subject), hashlib.sha256()
        for row in rows:
            columns = {column.name: getattr(row, column.name) for column in row.__table__.columns}
            hashed.update(json.dumps([row.__tablename__, columns], sort_keys=True).encode() + b"\n")
        for table in (KeptAnswer, Vote):
            ids = [row.id for row in rows if isinstance(row, table)]
            for start in range(0, len(ids), 500):
                session.execute(delete(table).where(table.id.in_(ids[start : start + 500])))
        session.add(
            Deletion(
                time=time.time(), actor=actor, subject=pseudonym, rows=len(rows), digest=hashed.hexdigest(),
                files=list(files), versions=list(versions),
            )
        )  # fmt: skip
    registry.forget_log()
    return len(rows)
