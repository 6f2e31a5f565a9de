"""Standard errors: textbook cases, and what clustering must and must not change."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.statistics import (
    clustered_bootstrap_stderr,
    clustered_stderr,
    estimate,
    paired_difference,
    ratio_stderr,
)

values = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40)


@given(values)
def test_single_observation_clusters_give_the_textbook_error_of_a_mean(sample):
    expected = np.std(sample, ddof=1) / math.sqrt(len(sample))
    assert clustered_stderr(sample, range(len(sample))) == pytest.approx(expected, abs=1e-9)


@given(values, st.integers(2, 5))
def test_copies_of_an_observation_add_no_certainty_when_clustered(sample, copies):
    repeated = np.repeat(sample, copies)
    clusters = np.repeat(np.arange(len(sample)), copies).tolist()
    assert clustered_stderr(repeated, clusters) == pytest.approx(clustered_stderr(sample, range(len(sample))), abs=1e-9)


@given(values, st.floats(-10, 10), st.floats(0, 10))
def test_error_ignores_shifts_and_follows_scale(sample, shift, scale):
    clusters = [i // 2 for i in range(len(sample))]
    moved = [scale * value + shift for value in sample]
    plain = clustered_stderr(sample, clusters)
    if plain is None:
        assert clustered_stderr(moved, clusters) is None
    else:
        assert clustered_stderr(moved, clusters) == pytest.approx(scale * plain, abs=1e-6)


@given(st.lists(st.booleans(), min_size=2, max_size=50))
def test_unclustered_shares_have_the_binomial_error(answers):
    share = estimate(answers, range(len(answers)))
    assert (share.value, share.n) == (pytest.approx(np.mean(answers)), len(answers))
    expected = math.sqrt(share.value * (1 - share.value) / (share.n - 1))
    assert share.stderr == pytest.approx(expected, abs=1e-9)


@given(values)
def test_cluster_names_and_order_do_not_matter(sample):
    clusters = [f"function {i % 3}" for i in range(len(sample))]
    backwards = clustered_stderr(sample[::-1], clusters[::-1])
    assert clustered_stderr(sample, clusters) == pytest.approx(backwards, abs=1e-9)


def test_correlated_clusters_widen_the_error():
    answers = [1, 1, 1, 1, 0, 0, 0, 0]
    assert clustered_stderr(answers, list("aaaabbbb")) > 2 * clustered_stderr(answers, range(8))


def test_undefined_errors_are_none():
    assert clustered_stderr([1.0, 0.0], ["a", "a"]) is None
    assert clustered_stderr([], []) is None
    assert clustered_bootstrap_stderr(lambda rows: 0.0, ["a", "a"], seed=1) is None


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="do not match"):
        clustered_stderr([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="positive"):
        ratio_stderr([1.0, 1.0], [0.0, 0.0], ["a", "b"])
    with pytest.raises(ValueError, match="equal shapes"):
        paired_difference([1.0], [1.0, 0.0], ["a", "b"])


def test_ratio_with_unequal_documents():
    bits, size = np.array([10.0, 40.0, 9.0]), np.array([5.0, 20.0, 5.0])
    residuals = bits - bits.sum() / size.sum() * size
    expected = math.sqrt(3 / 2 * (residuals**2).sum()) / size.sum()
    assert ratio_stderr(bits, size, "abc") == pytest.approx(expected)


def test_pairing_sees_a_small_gain_that_two_samples_hide():
    random = np.random.default_rng(0)
    hard = random.random(400)
    before, after = hard + 0.01 * random.random(400), hard + 0.05 + 0.01 * random.random(400)
    difference = paired_difference(after, before, range(400))
    assert difference.value == pytest.approx(0.05, abs=0.002)
    assert difference.stderr < clustered_stderr(hard, range(400)) / 20


def test_bootstrap_agrees_with_the_formula_on_a_mean_and_repeats_itself():
    random = np.random.default_rng(3)
    clusters = np.repeat(np.arange(100), 3)
    sample = random.normal(size=100)[clusters] + random.normal(size=300)
    first, second = (
        clustered_bootstrap_stderr(lambda rows: sample[rows].mean(), clusters.tolist(), seed=7, repetitions=400)
        for _ in range(2)
    )
    assert first == second
    assert first == pytest.approx(clustered_stderr(sample, clusters.tolist()), rel=0.15)


@given(st.integers(2, 200), st.integers(0, 5))
def test_error_of_a_constant_is_zero(n, value):
    assert clustered_stderr([value] * n, [i % 2 for i in range(n)]) == 0
