"""Pairs of answers that `stemma feedback choose` has prepared for people, in the order in which they are asked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from core import bounded, layout
from core.errors import InputProblem
from core.files import write_bytes
from registry.feedback.selection import DISAGREEMENT, RANDOM, PairSelection


class PreparedPair(BaseModel):
    """A question, the answers of both versions, and what reward model and judge think of the first one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str
    a: str
    b: str
    at_random: bool
    reward: float
    judge: float | None
    disagreement: float | None

    @property
    def digest(self) -> str:
        """Names the pair, whatever was prepared before and after."""
        return hashlib.sha256(json.dumps([self.question, self.a, self.b]).encode()).hexdigest()[:32]


class PreparedPairs(BaseModel):
    """Pairs of two versions, named as ``MODEL:VERSION``.

    Attributes:
        made: in unix seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    a: str
    b: str
    made: float
    reward_model: str
    judge_model: str
    pairs: tuple[PreparedPair, ...]

    def left(self, taken: Collection[str]) -> list[PreparedPair]:
        """Those whose digest is not among ``taken``, the next one first."""
        return [pair for pair in self.pairs if pair.digest not in taken]

    def selection(self, pair: PreparedPair, *, swapped: bool = False) -> PairSelection:
        """What is kept with what a person says of a pair.

        Args:
            swapped: the answers were shown in the other order.
        """

        def of_first(value: float | None) -> float | None:
            return 1 - value if swapped and value is not None else value

        reward = of_first(pair.reward)
        assert reward is not None
        return PairSelection(
            RANDOM if pair.at_random else DISAGREEMENT, pair.digest, reward, of_first(pair.judge), pair.disagreement,
            self.pairs.index(pair) + 1, len(self.pairs), self.reward_model, self.judge_model,
        )  # fmt: skip


def read(home: Path) -> PreparedPairs | None:
    """The pairs that are prepared; ``None`` where there are none.

    Raises:
        InputProblem: the file is damaged.
    """
    path = layout.prepared_pairs(home)
    try:
        with path.open("rb") as file:
            return PreparedPairs.model_validate_json(bounded.whole(file))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise InputProblem(f"{path} is damaged ({type(error).__name__}): run `stemma feedback choose` again") from None


def write(home: Path, pairs: PreparedPairs) -> None:
    """Take the place of what was prepared before."""
    write_bytes(layout.prepared_pairs(home), pairs.model_dump_json(indent=1).encode())
