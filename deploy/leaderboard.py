"""The arena's leaderboard: the registry's votes, rated; for `stemma arena`, the gateway's page and the console."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.comparison.ratings import Battle, Rating, are_connected, ratings
from registry.db.database import Registry
from registry.feedback import votes
from registry.feedback.votes import VoteView

WON = {"a": 1.0, "b": 0.0, "tie": 0.5, "bad": 0.5}  # what a vote gives to the first answer


@dataclass(frozen=True)
class Leaderboard:
    """Ratings, the best first.

    Attributes:
        votes: that count; ``both_bad``: those that found neither answer good, which count as ties.
        left_out: votes that do not count: :attr:`registry.feedback.votes.VoteView.counts`.
        connected: every model is linked to every other by battles.
    """

    ratings: list[Rating]
    votes: int
    both_bad: int
    connected: bool
    left_out: int = 0

    def as_dict(self) -> dict[str, Any]:
        rows = [rating.as_dict() for rating in self.ratings]
        about = ("votes", "both_bad", "connected", "left_out")
        return {"ratings": rows, **{name: getattr(self, name) for name in about}}


def leaderboard(cast: list[VoteView]) -> Leaderboard:
    """The leaderboard of these votes."""
    counted = [vote for vote in cast if vote.counts]
    battles = [Battle(vote.a, vote.b, WON[vote.choice]) for vote in counted]
    both_bad = sum(vote.choice == "bad" for vote in counted)
    return Leaderboard(ratings(battles), len(counted), both_bad, are_connected(battles), len(cast) - len(counted))


class CurrentLeaderboard:
    """The leaderboard of a registry as it is now, for what runs on; computed when a vote is new, or one was deleted."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[int, int], Leaderboard] | None = None

    def of(self, registry: Registry) -> Leaderboard:
        """The leaderboard of all votes that are in the registry.

        Raises:
            RegistryError: it cannot be read.
        """
        with registry.read() as session:
            state = votes.count(session), votes.newest(session)
            kept = self._kept
            if kept is not None and kept[0] == state:
                return kept[1]
            found = votes.votes(session)
        board = leaderboard(found)
        self._kept = (state, board)
        return board
