"""The arena's leaderboard: the registry's votes, rated; for `stemma arena` and the gateway's page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.comparison.ratings import Battle, Rating, are_connected, ratings
from registry.feedback.votes import VoteView

WON = {"a": 1.0, "b": 0.0, "tie": 0.5, "bad": 0.5}  # what a vote gives to the first answer


@dataclass(frozen=True)
class Leaderboard:
    """Ratings, the best first.

    Attributes:
        votes: all of them; ``both_bad``: those that found neither answer good, which count as ties.
        connected: every model is linked to every other by battles.
    """

    ratings: list[Rating]
    votes: int
    both_bad: int
    connected: bool

    def as_dict(self) -> dict[str, Any]:
        rows = [rating.as_dict() for rating in self.ratings]
        return {"ratings": rows, "votes": self.votes, "both_bad": self.both_bad, "connected": self.connected}


def leaderboard(votes: list[VoteView]) -> Leaderboard:
    """The leaderboard of these votes."""
    battles = [Battle(vote.a, vote.b, WON[vote.choice]) for vote in votes]
    both_bad = sum(vote.choice == "bad" for vote in votes)
    return Leaderboard(ratings(battles), len(votes), both_bad, are_connected(battles))
