"""Weights, thresholds and calibration: against scikit-learn, and on rare classes."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support
from sklearn.utils.class_weight import compute_class_weight

from components import pages
from components.classify_finetune import ClassifyFinetuneParameters, component
from components.classify_finetune.decision import (
    best_threshold,
    calibration,
    choose_threshold,
    decide,
    probabilities,
    require_two_labels,
)
from components.classify_finetune.labels import class_weights, read_labels
from components.classify_finetune.scores import by_label, confusion, f1_of
from core.errors import InputProblem
from tests.stage import run_component
from tests.unit.classify_finetune.test_labels import write
from tests.unit.finetuning.workspace import save_model

labelled = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=2, max_size=40)


@given(labelled)
def test_no_threshold_has_a_higher_f1_than_the_one_that_is_chosen(rows):
    truth = np.array([label for label, _ in rows])
    positive = np.array([share for _, share in rows]) / 20
    shares = np.stack([1 - positive, positive], axis=1)
    found = best_threshold(shares, truth, 1)
    best = max(f1_of(truth, (positive >= cut).astype(int), 1) for cut in np.arange(0, 1.05, 0.025))
    assert f1_of(truth, decide(shares, found), 1) == pytest.approx(best)


def test_of_two_labels_the_rarer_one_has_the_threshold(tmp_path):
    rare = [("a text", "x", "m")] * 2 + [("another", "y", "n")] * 8
    data = read_labels(write(tmp_path / "labels", rare))
    assert data.rarer == 0
    shares = np.array([[0.3, 0.7], [0.1, 0.9]])
    assert choose_threshold(0.5, shares, data) is None
    assert decide(shares, None).tolist() == [1, 1]
    assert decide(shares, choose_threshold(0.2, shares, data)).tolist() == [0, 1]


def test_a_threshold_is_for_two_labels():
    require_two_labels(0.5, ["x", "y", "z"])
    for wanted in ("auto", 0.3):
        with pytest.raises(InputProblem, match=r"has 3: set it to 0\.5"):
            require_two_labels(wanted, ["x", "y", "z"])


@pytest.mark.parametrize("wanted", [1.0, 0, True, "often", -0.1])
def test_thresholds_that_make_no_sense_are_refused(wanted):
    with pytest.raises(ValueError, match="threshold"):
        ClassifyFinetuneParameters(threshold=wanted)


def test_balanced_weights_are_those_of_scikit_learn(tmp_path):
    data = read_labels(write(tmp_path / "labels", [("a text", "x", "m")] * 3 + [("another", "y", "n")] * 9))
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=data.train.labels)
    assert class_weights("balanced", data).tolist() == expected.tolist()
    assert class_weights({"x": 4.0}, data).tolist() == [4.0, 1.0]
    assert class_weights("none", data) is None
    with pytest.raises(InputProblem, match="no label 'spam'; it has x, y"):
        class_weights({"spam": 2.0}, data)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_the_table_of_labels_is_that_of_scikit_learn(pairs):
    truth, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    rows = by_label(confusion(truth, predicted, 4), ["a", "b", "c", "d"])
    expected = precision_recall_fscore_support(truth, predicted, labels=range(4), zero_division=np.nan)
    for place, name in enumerate(("precision", "recall", "f1", "support")):
        found = [np.nan if row[name] is None else row[name] for row in rows]
        np.testing.assert_allclose(found, expected[place])


def test_calibration_of_scores_that_are_twice_too_sure():
    random = np.random.default_rng(1)
    honest = random.normal(size=(4000, 2)) * 1.5
    truth = (random.random(4000) < probabilities(honest)[:, 1]).astype(int)
    groups = [f"g{number}" for number in range(2000)]
    found = calibration((2 * honest[:2000], truth[:2000]), (2 * honest[2000:], truth[2000:]), groups, seed=1)
    assert found.temperature == pytest.approx(2, rel=0.15)
    assert found.error > 0.05 > 0.03 > found.error_at_temperature
    assert 0 < found.stderr < found.error
    assert sum(texts for _, _, texts in found.bins) == 2000


def test_weights_and_a_threshold_find_a_rare_class(tmp_path):
    """One text in ten is a complaint, and texts of both classes share words: by accuracy none is one."""
    from transformers import AutoConfig

    random = np.random.default_rng(0)
    rows = []
    for number in range(400):
        label = "complaint" if number % 10 == 0 else "other"
        words = [*random.choice(["the", "ball", "team", "won"], 6), *(["broken"] if label == "complaint" else [])]
        words += ["broken"] if label == "other" and number % 10 == 1 else []
        rows.append((" ".join(random.permutation(words)), label, f"g{number}"))
    names = ("complaint", "other")
    parameters = {"steps": 30, "per_device_batch_size": 16, "checkpoint_every": 30, "learning_rate": 0.01,
                  "optimizer": "adamw"}  # fmt: skip
    found = {}
    for name, more in (("plain", {}), ("weighted", {"class_weights": {"complaint": 9}, "threshold": "auto"})):
        workspace = tmp_path / name
        (workspace / "data").mkdir(parents=True)
        write(workspace / "data/labels", names=names, train=rows[:200], validation=rows[200:300], test=rows[300:])
        save_model(workspace / "models/base", [text for text, _, _ in rows])
        found[name] = run_component(component, workspace, {**parameters, **more})
    f1 = {
        name: next(metric for metric in context.metrics if metric.name == "rarer_class_f1")
        for name, context in found.items()
    }
    assert f1["weighted"].value > f1["plain"].value + 0.2
    assert f1["weighted"].baselines.keys() == {"tfidf_logistic_regression", "majority"}

    folder = found["weighted"].outputs["report"]
    report = json.loads((folder / "report.json").read_text())
    assert report["class_weights"] == {"complaint": 9.0, "other": 1.0}
    config = AutoConfig.from_pretrained(found["weighted"].outputs["model"])
    assert config.decision_threshold == {"complaint": report["threshold"]["probability"]}
    page = pages.classify_finetune.render(folder).html()
    assert "complaint is predicted from a probability of" in page and "Calibration" in page
