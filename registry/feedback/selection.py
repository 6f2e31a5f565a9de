"""How it was chosen what a person was asked, which is kept with what the person said.

Pairs on which reward model and judge disagree are asked about first, for there a person's word adds most. Such votes
are no sample of anything: models that win easy questions lose here. So a share of the prepared pairs is drawn at random
before any is looked at; ratings and win rates count these and the questions that people thought of, and no others.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.db.schema import KeptAnswer, Vote

Chosen = Literal["person", "random", "disagreement"]
PERSON: Chosen = "person"  # the question is the person's own, the versions were drawn at random
RANDOM: Chosen = "random"
DISAGREEMENT: Chosen = "disagreement"


@dataclass(frozen=True)
class PairSelection:
    """Of a prepared pair, as it was shown.

    Attributes:
        pair: its digest.
        reward: probability that the first answer is the better one, by the reward model.
        judge: 1 where the judge prefers the first answer, 0 the second, 0.5 neither; ``None`` without a verdict.
        disagreement: the distance between the two, from 0 to 1.
        place: in the order in which the ``of`` pairs are asked about, from 1.
    """

    chosen: Chosen
    pair: str
    reward: float
    judge: float | None
    disagreement: float | None
    place: int
    of: int
    reward_model: str
    judge_model: str

    def columns(self) -> dict[str, Any]:
        """Of the row that keeps it."""
        about = asdict(self)
        return {"chosen": about.pop("chosen"), "selection": about}


def columns(selection: PairSelection | None) -> dict[str, Any]:
    """Of the row of something that people said; without a selection they thought of the question themselves."""
    return {"chosen": PERSON, "selection": None} if selection is None else selection.columns()


def voted_on(session: Session) -> set[str]:
    """Digests of the prepared pairs that have a vote."""
    return {row["pair"] for row in session.scalars(select(Vote.selection).where(Vote.chosen != PERSON)) if row}


def rated(session: Session) -> set[str]:
    """Digests of the prepared pairs of which an answer has been rated or edited."""
    query = select(KeptAnswer.selection).where(KeptAnswer.chosen != PERSON, KeptAnswer.rated.is_not(None))
    return {row["pair"] for row in session.scalars(query) if row}
