"""The fit gives back the law that trainings were made from, says what it cannot know, and bounds what it predicts."""

from __future__ import annotations

import random

import pytest

from components.planning import scaling_law
from components.planning.flops import LOSS, ParametricLoss
from components.planning.scaling_law import Observation, fit, parametric, problems

HOFFMANN = ParametricLoss(entropy=1.69, a=406.4, b=410.7, alpha=0.34, beta=0.28)  # as printed in the paper
SIZES = (70e6, 150e6, 400e6, 1e9, 2.8e9, 7e9)
LENGTHS = (1e9, 3e9, 10e9, 30e9, 100e9, 300e9)


def made(law: ParametricLoss, noise: float = 0.0, sizes=SIZES, lengths=LENGTHS) -> list[Observation]:
    draw = random.Random(3)
    return [Observation(n, d, law.loss(n, d) * (1 + draw.gauss(0, noise))) for n in sizes for d in lengths]


@pytest.mark.parametrize("law", [HOFFMANN, LOSS], ids=["as printed", "Besiroglu et al."])
def test_trainings_made_from_a_published_law_give_it_back(law):
    found = parametric(made(law))
    for name in ("entropy", "alpha", "beta"):
        assert getattr(found, name) == pytest.approx(getattr(law, name), rel=1e-6), name
    for name in ("a", "b"):
        assert getattr(found, name) == pytest.approx(getattr(law, name), rel=1e-5), name
    assert found.loss(70e9, 1.4e12) == pytest.approx(law.loss(70e9, 1.4e12), rel=1e-6)


def test_the_three_approaches_agree_on_the_exponent_and_the_best_size():
    law = fit(made(LOSS, sizes=[70e6 * 1.6**k for k in range(12)], lengths=[3e8 * 2**k for k in range(11)]), samples=0)
    exponent = LOSS.beta / (LOSS.alpha + LOSS.beta)
    flops = 1e20
    best, _ = LOSS.optimal(flops)
    for found in (law.envelope, law.profiles):
        assert found is not None
        assert found.exponent == pytest.approx(exponent, abs=0.06)
        assert found.parameters(flops) == pytest.approx(best, rel=0.25)
    assert law.loss.optimal(flops)[0] == pytest.approx(best, rel=0.01)


def test_the_interval_of_a_prediction_holds_the_truth_and_is_wider_further_out():
    law = fit(made(LOSS, noise=0.003), samples=60)
    near, far = law.predicted(1e9, 30e9), law.predicted(70e9, 1.4e12)
    assert near.holds(LOSS.loss(1e9, 30e9)) and far.holds(LOSS.loss(70e9, 1.4e12))
    assert (far.high - far.low) / far.value > (near.high - near.low) / near.value
    assert law.interval(lambda each: each.alpha).holds(LOSS.alpha)
    assert law.residual == pytest.approx(0.003, rel=0.5)


def test_one_training_that_went_wrong_moves_the_law_little():
    trainings = made(LOSS)
    trainings[7] = Observation(trainings[7].parameters, trainings[7].tokens, trainings[7].loss * 1.5)
    assert parametric(trainings).loss(70e9, 1.4e12) == pytest.approx(LOSS.loss(70e9, 1.4e12), rel=0.01)


def test_what_trainings_cannot_show_is_said():
    assert not problems(made(LOSS))
    for trainings, words in (
        (made(LOSS, sizes=SIZES[:2]), "2 sizes"),
        (made(LOSS, lengths=LENGTHS[:2]), "2 lengths"),
        (made(LOSS, sizes=SIZES[:3], lengths=LENGTHS[:1]), "3 trainings do not determine"),
    ):
        assert any(words in line for line in problems(trainings))
        with pytest.raises(ValueError, match=words):
            fit(trainings)
    apart = [Observation(n, d, LOSS.loss(n, d)) for n, d in zip(SIZES, LENGTHS, strict=True)]
    law = fit(apart, samples=0)
    assert law.envelope is None and "two lengths" in law.missing["envelope"]
    assert law.profiles is None
    assert scaling_law.Interval(1.0).holds(2.0) is None
