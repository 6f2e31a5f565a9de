"""Ratings of models from votes: Bradley-Terry with bootstrap intervals, and Elo for habit.

Bradley and Terry, "Rank Analysis of Incomplete Block Designs" (Biometrika 39, 1952): ``P(a beats b)`` is the logistic
function of the difference of their strengths, so the fit is a logistic regression (scikit-learn's) with a column a
model. A tie is half a win for each. Strengths are shown on Elo's scale: 400 points are odds of ten to one, the mean is
1000. Elo's own ratings depend on the order of the votes; these do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

SCALE, MEAN = 400 / np.log(10), 1000.0
_LOOSE = 1000.0  # inverse strength of the penalty that keeps a model finite that has won, or lost, every vote
_RESAMPLES = 100
_ELO_STEP = 32.0


@dataclass(frozen=True)
class Battle:
    """Two models, and what the first one got: 1 a win, 0.5 a tie, 0 a defeat."""

    a: str
    b: str
    won: float


@dataclass(frozen=True)
class Rating:
    """A model's rating; ``low`` and ``high`` bound its 95 % interval over resampled votes."""

    model: str
    rating: float
    low: float
    high: float
    elo: float
    battles: int
    wins: int
    ties: int
    losses: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def ratings(battles: Sequence[Battle], *, seed: int = 0) -> list[Rating]:
    """The rating of every model, the best first. Battles of a model with itself do not count."""
    import sklearn.linear_model  # noqa: F401  # before the limit below, which holds for libraries that are loaded

    battles = [battle for battle in battles if battle.a != battle.b]
    names = sorted({name for battle in battles for name in (battle.a, battle.b)})
    if not battles:
        return []
    place = {name: number for number, name in enumerate(names)}
    # Each kind of battle (who, whom, with what result) once, with its number: a resampling draws these numbers.
    kinds = sorted({(battle.a, battle.b, battle.won) for battle in battles})
    counts = np.zeros(len(kinds))
    for battle in battles:
        counts[kinds.index((battle.a, battle.b, battle.won))] += 1
    pairs = np.array([(place[a], place[b]) for a, b, _ in kinds])
    won = np.array([won for *_, won in kinds])
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(battles), counts / counts.sum(), size=_RESAMPLES).astype(float)
    with threadpool_limits(1):  # threads of BLAS that wait for each other cost many times what so few numbers do
        fitted, *resampled = (_bradley_terry(pairs, won, times, len(names)) for times in (counts, *drawn))
    samples = np.array(resampled)
    low, high = np.quantile(samples, (0.025, 0.975), axis=0)
    elo = _elo(battles, names)
    found = []
    for name, number in place.items():
        got = [battle.won if battle.a == name else 1 - battle.won for battle in battles if name in (battle.a, battle.b)]
        found.append(
            Rating(
                name, float(fitted[number]), float(low[number]), float(high[number]), elo[name], len(got),
                sum(each == 1 for each in got), sum(each == 0.5 for each in got), sum(each == 0 for each in got),
            )
        )  # fmt: skip
    return sorted(found, key=lambda rating: (-rating.rating, rating.model))


def are_connected(battles: Sequence[Battle]) -> bool:
    """Whether all models are linked by battles; ratings of groups that never met say nothing of each other."""
    groups: list[set[str]] = []
    for battle in battles:
        met = [group for group in groups if battle.a in group or battle.b in group]
        groups = [group for group in groups if group not in met] + [{battle.a, battle.b}.union(*met)]
    return len(groups) <= 1


def _bradley_terry(
    pairs: NDArray[np.intp], won: NDArray[np.float64], times: NDArray[np.float64], models: int
) -> NDArray[np.float64]:
    """Ratings on Elo's scale, shape ``[models]``; ``times[i]`` battles of ``pairs[i]`` ended with ``won[i]``."""
    from sklearn.linear_model import LogisticRegression

    columns = np.zeros((len(pairs), models))
    columns[np.arange(len(pairs)), pairs[:, 0]] = 1
    columns[np.arange(len(pairs)), pairs[:, 1]] = -1
    # Every battle as a win of its first model and as one of its second, weighted by what each got: both classes are
    # there whatever the votes, and a tie is half of either.
    rows, outcome = np.concatenate([columns, columns]), np.repeat([1, 0], len(pairs))
    weights = np.concatenate([times * won, times * (1 - won)])
    model = LogisticRegression(C=_LOOSE, fit_intercept=False, tol=1e-8, max_iter=1000)
    strengths = model.fit(rows, outcome, sample_weight=weights).coef_[0]
    ratings: NDArray[np.float64] = MEAN + SCALE * (strengths - strengths.mean())
    return ratings


def _elo(battles: Sequence[Battle], names: Sequence[str]) -> dict[str, float]:
    """Elo's ratings after all votes in their order, steps of 32 from 1000."""
    rating = dict.fromkeys(names, MEAN)
    for battle in battles:
        expected = 1 / (1 + 10 ** ((rating[battle.b] - rating[battle.a]) / 400))
        step = _ELO_STEP * (battle.won - expected)
        rating[battle.a] += step
        rating[battle.b] -= step
    return rating
