"""The n-gram baselines are true probability models, and learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.ngrams import NGramModel

VOCABULARY, PADDING = 6, 0
documents = st.lists(st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=12), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(documents, st.integers(1, 5), st.lists(st.integers(0, VOCABULARY - 1), max_size=8))
def test_next_token_probabilities_sum_to_one_after_any_context(training, order, context):
    model = NGramModel(training, VOCABULARY, order, PADDING)
    rows = model.log_probabilities([[*context, token] for token in range(VOCABULARY)])
    assert sum(math.exp(row[-1]) for row in rows) == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(documents, st.integers(1, 5))
def test_every_token_has_a_probability_whatever_stands_beside_it(training, order):
    model = NGramModel(training, VOCABULARY, order, PADDING)
    together = model.log_probabilities(training)
    apart = [model.log_probabilities([document])[0] for document in training]
    assert [len(row) for row in together] == [len(document) for document in training]
    for left, right in zip(together, apart, strict=True):
        np.testing.assert_allclose(left, right)
        assert np.isfinite(left).all()


def test_longer_contexts_help_where_there_is_structure():
    random = np.random.default_rng(0)
    successor = random.permutation(50)

    def walk(n):
        token, out = int(random.integers(50)), []
        for _ in range(n):
            token = int(successor[token]) if random.random() < 0.8 else int(random.integers(50))
            out.append(token)
        return out

    training, held_out = [walk(200) for _ in range(40)], [walk(200) for _ in range(5)]
    loss = {
        order: -np.concatenate(NGramModel(training, 50, order, 0).log_probabilities(held_out)).mean()
        for order in (1, 2, 5)
    }
    entropy_rate = -(0.8 + 0.2 / 50) * math.log(0.8 + 0.2 / 50) - 49 * (0.2 / 50) * math.log(0.2 / 50)
    assert loss[1] == pytest.approx(math.log(50), abs=0.1)
    assert entropy_rate < loss[2] < entropy_rate + 0.15
    assert loss[5] < loss[2] + 0.25  # useless longer contexts cost little: back-off works


def test_unigram_is_discounted_relative_frequency():
    model = NGramModel([[1, 1, 1, 2]], vocabulary=4, order=1, padding=0)
    one, two, unseen = np.exp(model.log_probabilities([[1, 2, 3]])[0])
    # counts 3 and 1, fallback discounts 1.5 and 0.5, so 2 of 4 are spread over the 4 tokens
    assert (one, two, unseen) == pytest.approx((1.5 / 4 + 0.125, 0.5 / 4 + 0.125, 0.125))


def test_nothing_to_score_is_nothing():
    assert NGramModel([[1]], 4, 3, 0).log_probabilities([]) == []


def test_order_zero_is_refused():
    with pytest.raises(ValueError, match="order 1 or more"):
        NGramModel([[1]], 4, 0, 0)
