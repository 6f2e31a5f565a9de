"""The order in which people are asked about pairs of answers."""

from __future__ import annotations

import pytest

from components.comparison.disagreement import Opinions, order, preference


def test_a_preference_is_bradley_terry_s():
    assert preference(0.0, 0.0) == 0.5
    assert preference(1.0, -1.0) == pytest.approx(0.8807970779778823)  # 1 / (1 + exp(-2))
    assert (preference(1e9, 0.0), preference(0.0, 1e9)) == (1.0, pytest.approx(0.0))


def test_where_the_two_disagree_comes_first_and_every_fourth_is_drawn_before_anybody_was_asked():
    """The judge prefers the first answer, and of the last pair gave no verdict; the reward model has all opinions."""
    opinions = [Opinions(reward, 1.0) for reward in (0.9, 0.1, 0.6, 0.4, 0.95, 0.05, 0.5)] + [Opinions(0.0, None)]
    found = order(opinions, seed=3)
    assert sorted(place for place, _ in found) == list(range(8))
    assert [at_random for _, at_random in found] == [False, False, False, True, False, False, False, True]
    others = [opinions[place].disagreement for place, at_random in found if not at_random]
    known = [each for each in others if each is not None]
    assert known == sorted(known, reverse=True) and others[: len(known)] == known
    drawn = [place for place, at_random in found if at_random]
    reversed_opinions = [Opinions(1 - each.reward, each.judge) for each in opinions]
    assert [place for place, at_random in order(reversed_opinions, seed=3) if at_random] == drawn
    assert [place for place, at_random in order(opinions, seed=4) if at_random] != drawn
    assert order([], seed=3) == [] and order(opinions[:1], seed=3) == [(0, False)]
