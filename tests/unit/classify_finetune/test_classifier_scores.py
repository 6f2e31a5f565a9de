"""Accuracy, confusion and macro-F1, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from components.classify_finetune.scores import confusion, f1_by_label, macro_f1, score

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@given(pairs)
def test_confusion_and_macro_f1_are_those_of_scikit_learn(found):
    truth, predicted = (np.array(column) for column in zip(*found, strict=True))
    matrix = confusion(truth, predicted, 5)
    assert matrix.tolist() == confusion_matrix(truth, predicted, labels=range(5)).tolist()
    assert macro_f1(matrix) == pytest.approx(f1_score(truth, predicted, average="macro"))


def test_a_label_that_never_occurs_has_no_f1():
    assert np.isnan(f1_by_label(confusion(np.array([0, 1]), np.array([0, 1]), 3))[2])


def test_errors_are_clustered_and_repeatable():
    truth = np.arange(60) % 3
    predicted = np.where(np.arange(60) < 30, truth, (truth + 1) % 3)  # right in the first ten groups only
    groups = [f"module {i // 3}" for i in range(60)]
    first, second = (score(truth, predicted, groups, 3, seed=5) for _ in range(2))
    assert first == second
    assert first.accuracy == 0.5 and first.n == 60
    assert first.accuracy_stderr == pytest.approx(0.5 / np.sqrt(19), rel=1e-6)  # 20 groups, all or nothing
    assert first.macro_f1_stderr > 0
