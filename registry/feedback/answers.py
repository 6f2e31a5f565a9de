"""Kept answers: what a model answered in which conversation, and what its person said of it: thumb, stars, an edit.

An answer belongs to the person whose key asked for it, and nobody else can say anything of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.db.database import Registry
from registry.db.schema import KeptAnswer
from registry.errors import NoSuchAnswer
from registry.feedback.selection import PERSON, PairSelection, columns
from registry.feedback.votes import storable

Thumb = Literal["up", "down"]
THUMBS: tuple[str, ...] = get_args(Thumb)
LONGEST = 32_768  # characters of a conversation with its answer, and of an edit; a longer one is not kept
MOST = 5_000  # answers of one person that are kept at a time; 5,000 of the longest are 160 MB

Message = dict[str, str]


@dataclass(frozen=True)
class NewAnswer:
    """An answer to be kept.

    Attributes:
        name: that its person knows it by.
        conversation: what its turns have in common.
        person: name of the key that asked; empty where none is needed.
        messages: before the answer, each with ``role`` and ``content``.
        consent: whether models may be trained on it.
        expires: when it is to be deleted, in unix seconds.
        selection: how a prepared question was chosen; ``None``: it is the person's own.
    """

    name: str
    conversation: str
    person: str
    version_id: int
    messages: list[Message]
    answer: str
    consent: bool
    expires: float
    selection: PairSelection | None = None


@dataclass(frozen=True)
class AnswerView:
    """A kept answer as it is read; the version as ``MODEL:VERSION``, times in unix seconds."""

    id: int
    name: str
    conversation: str
    person: str
    version: str
    messages: list[dict[str, Any]]
    answer: str
    consent: bool
    time: float
    expires: float
    thumb: str | None
    stars: int | None
    edit: str | None
    rated: float | None
    chosen: str = PERSON
    selection: dict[str, Any] | None = None


def keep(registry: Registry, given: NewAnswer) -> bool:
    """Keep an answer; ``False`` where its person has as many as are kept of one, or it is too long."""
    if sum(len(message["content"]) for message in given.messages) + len(given.answer) > LONGEST:
        return False
    with registry.write() as session:
        person = given.person[:100]
        if (session.scalar(select(func.count()).select_from(KeptAnswer).filter_by(person=person)) or 0) >= MOST:
            return False
        session.add(
            KeptAnswer(
                name=given.name, conversation=given.conversation, person=person, version_id=given.version_id,
                messages=[{name: storable(value) for name, value in message.items()} for message in given.messages],
                answer=storable(given.answer), consent=given.consent, time=time.time(), expires=given.expires,
                **columns(given.selection),
            )
        )  # fmt: skip
    return True


def unrated(session: Session, person: str, pair: str, consent: bool) -> AnswerView | None:
    """An answer of the prepared pair that this person was shown and has said nothing of."""
    query = select(KeptAnswer).filter_by(person=person[:100], rated=None, consent=consent)
    rows = session.scalars(query.where(KeptAnswer.chosen != PERSON, KeptAnswer.expires > time.time()))
    return next((view(row) for row in rows if row.selection and row.selection["pair"] == pair), None)


def rate(
    registry: Registry,
    name: str,
    person: str,
    *,
    thumb: Thumb | None = None,
    stars: int | None = None,
    edit: str | None = None,
) -> AnswerView:
    """Record what a person says of an answer; what is ``None`` stays as it was, else the last word counts.

    Raises:
        NoSuchAnswer: none of this name is kept for this person.
    """
    with registry.write() as session:
        row = session.scalar(select(KeptAnswer).filter_by(name=name, person=person[:100]))
        if row is None or row.expires <= time.time():
            raise NoSuchAnswer(f"no answer {name} is kept for you: it was not to be kept, was too long, or is deleted")
        row.thumb = row.thumb if thumb is None else thumb
        row.stars = row.stars if stars is None else stars
        row.edit = row.edit if edit is None else storable(edit)
        row.rated = time.time()
        session.flush()
        return view(row)


def answers(session: Session) -> list[AnswerView]:
    """All kept answers, the oldest first."""
    return [view(row) for row in session.scalars(select(KeptAnswer).order_by(KeptAnswer.id))]


def view(row: KeptAnswer) -> AnswerView:
    return AnswerView(
        row.id, row.name, row.conversation, row.person, str(row.version), row.messages, row.answer, row.consent,
        row.time, row.expires, row.thumb, row.stars, row.edit, row.rated, row.chosen, row.selection,
    )  # fmt: skip
