"""Bradley-Terry against cases that can be computed by hand."""

from __future__ import annotations

import math
import random

import pytest

from components.comparison.ratings import MEAN, SCALE, Battle, are_connected, ratings


def by_name(battles):
    return {each.model: each for each in ratings(battles)}


def test_two_models_are_apart_by_the_logarithm_of_their_odds():
    # Two models: the likelihood is that of a coin, so the odds are 3 : 1 and the strengths ln(3) apart.
    found = by_name([Battle("x", "y", 1.0)] * 30 + [Battle("y", "x", 1.0)] * 10)
    assert found["x"].rating - found["y"].rating == pytest.approx(400 * math.log10(3), abs=0.5)
    assert (found["x"].rating + found["y"].rating) / 2 == pytest.approx(MEAN)
    assert (found["x"].wins, found["x"].ties, found["x"].losses, found["x"].battles) == (30, 0, 10, 40)
    # The error of a logit of 40 trials is 1 / sqrt(40 * 0.75 * 0.25); half of the difference is each model's.
    spread = SCALE / 2 * 1.96 / math.sqrt(40 * 0.75 * 0.25)
    assert found["x"].high - found["x"].low == pytest.approx(2 * spread, rel=0.3)


def test_ties_are_half_a_win_each_and_order_does_not_matter():
    battles = [Battle("x", "y", 0.5)] * 4 + [Battle("x", "y", 1.0)] * 4
    found = by_name(battles)
    assert found["x"].rating - found["y"].rating == pytest.approx(400 * math.log10(6 / 2), abs=3)
    assert [each.rating for each in ratings([Battle("x", "y", 0.5)] * 3)] == [pytest.approx(MEAN)] * 2
    turned = by_name([Battle(each.b, each.a, 1 - each.won) for each in reversed(battles)])
    assert turned["x"].rating == pytest.approx(found["x"].rating, abs=1e-3)


def test_models_that_never_met_are_rated_through_a_third():
    # x beats y 2 : 1 and y beats z 2 : 1; the fit is exact, so x is 2 ln 2 above z.
    battles = [Battle("x", "y", won) for won in (1.0, 1.0, 0.0)] * 20 + [
        Battle("y", "z", won) for won in (1.0, 1.0, 0.0)
    ] * 20
    found = ratings(battles)
    assert [each.model for each in found] == ["x", "y", "z"]
    assert found[0].rating - found[2].rating == pytest.approx(2 * 400 * math.log10(2), abs=1)
    assert are_connected(battles) and not are_connected([*battles, Battle("p", "q", 1.0)])


def test_one_that_has_won_every_vote_has_a_finite_rating():
    found = by_name([Battle("x", "y", 1.0)] * 5)
    assert math.isfinite(found["x"].rating) and found["x"].rating > found["y"].rating + 400
    assert ratings([]) == [] and ratings([Battle("x", "x", 1.0)]) == []


def test_elo_is_the_rule_by_hand():
    # 1000 : 1000 expects a half, so a win moves 16; then 1016 : 984 expects 0.54598, and a defeat takes 17.47.
    found = by_name([Battle("x", "y", 1.0), Battle("x", "y", 0.0)])
    assert found["x"].elo == pytest.approx(1016 - 32 / (1 + 10 ** (-32 / 400)))
    chance = random.Random(1)
    battles = [Battle("x", "y", float(chance.random() < 0.7)) for _ in range(300)]
    assert by_name(battles)["x"].elo > 1000 > by_name(battles)["y"].elo
