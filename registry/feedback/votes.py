"""Votes of the arena: which of two answers to one question a person prefers, in the order they were shown."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from registry.db.database import Registry
from registry.db.schema import ModelVersion, Vote
from registry.feedback.selection import DISAGREEMENT, PERSON, PairSelection, columns

Choice = Literal["a", "b", "tie", "bad"]
CHOICES: tuple[str, ...] = get_args(Choice)


@dataclass(frozen=True)
class GivenAnswer:
    """An answer and the version, by its row in the registry, that gave it."""

    version_id: int
    answer: str


@dataclass(frozen=True)
class VoteView:
    """A vote as it is read: versions as ``MODEL:VERSION``, ``time`` in unix seconds.

    Attributes:
        consent: whether models may be trained on it.
        expires: when its texts are deleted, in unix seconds; ``None``: never, or they have been.
        chosen, selection: how the pair was chosen; see :mod:`registry.feedback.selection`.
    """

    id: int
    time: float
    voter: str
    a: str
    b: str
    choice: str
    question: str
    answer_a: str
    answer_b: str
    reason: str
    consent: bool
    expires: float | None
    chosen: str = PERSON
    selection: dict[str, Any] | None = None

    @property
    def counts(self) -> bool:
        """Whether ratings count it: a pair that was chosen for a disagreement says nothing of all pairs."""
        return self.chosen != DISAGREEMENT

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def record(
    registry: Registry,
    voter: str,
    question: str,
    a: GivenAnswer,
    b: GivenAnswer,
    choice: Choice,
    reason: str,
    *,
    consent: bool = False,
    expires: float | None = None,
    selection: PairSelection | None = None,
) -> int:
    """Keep a vote; how many votes there are now.

    Args:
        voter: name of the key that the person used; empty where none is needed.
        a, b: the answers as they were shown, the first one first.
        consent: whether models may be trained on it.
        expires: when its texts are to be deleted, in unix seconds.
        selection: how a prepared pair was chosen; ``None``: the question is the person's own.
    """
    with registry.write() as session:
        session.add(
            Vote(
                time=time.time(), voter=voter[:100], question=storable(question), version_a_id=a.version_id,
                version_b_id=b.version_id, answer_a=storable(a.answer), answer_b=storable(b.answer), choice=choice,
                reason=storable(reason), consent=consent, expires=expires,
                **columns(selection),
            )
        )  # fmt: skip
        session.flush()
        return count(session)


def count(session: Session) -> int:
    """How many votes there are."""
    return session.scalar(select(func.count()).select_from(Vote)) or 0


def newest(session: Session) -> int:
    """The number of the last vote; 0 where there is none."""
    return session.scalar(select(func.max(Vote.id))) or 0


def votes(session: Session) -> list[VoteView]:
    """All votes, the oldest first."""
    first, second = aliased(ModelVersion), aliased(ModelVersion)
    rows = session.execute(
        select(Vote, first, second)
        .join(first, first.id == Vote.version_a_id)
        .join(second, second.id == Vote.version_b_id)
        .order_by(Vote.id)
    )
    return [
        VoteView(vote.id, vote.time, vote.voter, str(a), str(b), vote.choice, vote.question, vote.answer_a,
                 vote.answer_b, vote.reason, vote.consent, vote.expires, vote.chosen, vote.selection)
        for vote, a, b in rows
    ]  # fmt: skip


def storable(given: str) -> str:
    """A text as both databases take it."""
    return given.replace("\0", "\N{REPLACEMENT CHARACTER}")  # which PostgreSQL does not take
