"""``human_win_rate``: how often people prefer the candidate to the version that holds the alias, in the arena.

No stage measures it: the gate counts the votes that there are. A tie, and a vote that both are bad, is half a win.
Votes on pairs that were chosen because reward model and judge disagree about them do not count: they are no sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from registry.db.schema import ModelVersion, Vote
from registry.feedback.selection import DISAGREEMENT

NAME = "human_win_rate"
_EVEN = 1.96**2  # votes that are added, half of them won: Agresti and Coull (1998)


@dataclass(frozen=True)
class WinRate:
    """Wins, ties and losses of one version against another."""

    wins: int = 0
    ties: int = 0
    losses: int = 0

    @property
    def votes(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def value(self) -> float:
        """The share that was won, from 0 to 1; 0.5 without votes."""
        return (self.wins + self.ties / 2) / self.votes if self.votes else 0.5

    @property
    def interval(self) -> tuple[float, float]:
        """95 % by Agresti and Coull: two wins of two are no certainty."""
        n = self.votes + _EVEN
        share = (self.wins + self.ties / 2 + _EVEN / 2) / n
        half = math.sqrt(_EVEN * share * (1 - share) / n)
        return max(0.0, share - half), min(1.0, share + half)


def win_rate(session: Session, candidate: ModelVersion, champion: ModelVersion) -> WinRate:
    """Of the votes between the two that count."""
    pairs = or_(
        (Vote.version_a_id == candidate.id) & (Vote.version_b_id == champion.id),
        (Vote.version_a_id == champion.id) & (Vote.version_b_id == candidate.id),
    )
    wins = ties = losses = 0
    counted = select(Vote.version_a_id, Vote.choice, func.count()).where(pairs, Vote.chosen != DISAGREEMENT)
    for first, choice, count in session.execute(counted.group_by(Vote.version_a_id, Vote.choice)):
        if choice not in ("a", "b"):
            ties += count
        elif (first == candidate.id) == (choice == "a"):
            wins += count
        else:
            losses += count
    return WinRate(wins, ties, losses)
