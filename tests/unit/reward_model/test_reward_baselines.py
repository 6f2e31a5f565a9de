import numpy as np

from components.finetuning.pairs import Pair
from components.reward_model.baselines import FEATURES, features, shorter_wins, surface_features


def pair(chosen, rejected):
    return Pair({"prompt": "Which is first? def f ( alpha , beta )", "group": "f"}, chosen, rejected, None)


def test_shorter_wins_counts_ties_as_half():
    assert shorter_wins([pair("a", "bb"), pair("bb", "a"), pair("a", " b ")]).tolist() == [1, 0, 0.5]


def test_surface_features_find_a_surface_rule():
    train = [pair(f"word{i}", f"The Word {i}.") for i in range(40)]
    assert surface_features(train, [pair("no", "The No."), pair("The No.", "no")], 0).tolist() == [1, 0]


def test_surface_features_see_nothing_in_equal_surfaces():
    train = [pair("alpha", "delta zeta.")] * 5
    assert surface_features(train, [pair("bravo", "hotel")], 0).tolist() == [0.5]


def test_features_are_as_many_as_their_names():
    found = features("def f ( alpha )", " The answer is alpha.")
    assert found.shape == (len(FEATURES),) and np.isfinite(found).all()
    assert features("", "").sum() == 0
