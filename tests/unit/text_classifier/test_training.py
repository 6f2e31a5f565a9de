"""Training: measured on unseen texts, beside an honest baseline, at a threshold that has the wanted precision."""

import numpy as np
import pytest

from components.text_classifier.model import TextClassifier
from components.text_classifier.training import train
from core.errors import InputProblem
from tests.unit.text_classifier.examples import texts

GOOD, BAD = texts("good", 400), texts("bad", 400)


@pytest.fixture(scope="module")
def trained():
    return train([*GOOD, GOOD[0], "in both"], [*BAD, "in both"], 0.9, 1337)


def test_the_metrics_are_of_texts_that_it_has_not_seen(trained):
    counts, metrics = trained.model.manifest["examples"], trained.model.manifest["metrics"]
    assert (counts["good"], counts["bad"], counts["in_both"], counts["repeats"]) == (400, 400, 1, 1)
    assert counts["train"] + counts["test"] == 800 and 80 < metrics["n"] == counts["test"] < 160
    assert metrics["average_precision"] > 0.95 > metrics["baselines"]["average_precision_by_length"]
    low, high = metrics["precision_interval"]
    assert low < metrics["precision"] < high and 0 < high - low < 0.25
    assert metrics["precision"] > 0.8 > metrics["baselines"]["share_of_good"]
    curve = trained.model.manifest["curve"]
    assert curve[-1]["recall"] == 1 and curve[-1]["precision"] == pytest.approx(metrics["good"] / metrics["n"])
    assert [point["recall"] for point in curve] == sorted(point["recall"] for point in curve)
    fresh = trained.model.scores(texts("good", 50, seed=1) + texts("bad", 50, seed=1))
    assert np.mean(fresh[:50]) > 0.7 and np.mean(fresh[50:]) < 0.3


def test_more_precision_costs_recall_and_the_same_examples_make_the_same_file(trained, tmp_path):
    strict = train(GOOD, BAD, 0.995, 1337).model
    assert strict.threshold > trained.model.threshold
    assert strict.manifest["metrics"]["recall"] < trained.model.manifest["metrics"]["recall"]
    for number in (1, 2):
        train(GOOD, BAD, 0.9, 1337).save(tmp_path / str(number), {"name": "quality"})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_a_file_read_back_gives_the_same_scores(trained, tmp_path):
    trained.save(tmp_path / "model", {"name": "quality", "files": {}})
    found = TextClassifier.read(tmp_path / "model", "model")
    assert found.scores(GOOD[:5]) == trained.model.scores(GOOD[:5]) and found.threshold == trained.model.threshold
    assert found.manifest["name"] == "quality" and found.manifest["metrics"] == trained.model.manifest["metrics"]


@pytest.mark.parametrize(
    ("good", "bad", "precision", "message"),
    [
        (GOOD, BAD[:50], 0.9, r"bad texts: there are 50 distinct ones, and 100 are needed"),
        (GOOD, GOOD, 0.9, r"good texts: there are 0 .*\nbad texts: there are 0 "),
        (GOOD, texts("good", 400, seed=2), 0.999, r"no threshold has a precision of 0.999|no better than chance"),
    ],
)
def test_what_cannot_be_learnt_is_said(good, bad, precision, message):
    with pytest.raises(InputProblem, match=message):
        train(good, bad, precision, 1337)
