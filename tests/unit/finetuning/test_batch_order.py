"""The order of examples is complete, of like lengths within a batch, and depends on nothing but its arguments."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.finetuning.training import batch_order


@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=200), st.integers(1, 20), st.integers(1, 30), st.integers(0, 9)
)
def test_as_many_as_asked_for_and_the_same_every_time(lengths, batch, steps, seed):
    order = batch_order(lengths, batch, steps, seed)
    assert len(order) == batch * steps
    assert order == batch_order(lengths, batch, steps, seed)
    assert set(order) <= set(range(len(lengths)))


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 5))
def test_a_pass_shows_everything_once(batch, batches, seed):
    lengths = list(range(batch * batches))
    assert Counter(batch_order(lengths, batch, batches, seed)) == Counter(lengths)


@given(st.integers(1, 40), st.integers(1, 64))
def test_no_example_is_left_out_however_few_there_are(examples, batch):
    steps = 2 * (examples // batch + 2)
    assert set(batch_order([1] * examples, batch, steps, 0)) == set(range(examples))


def test_a_batch_holds_like_lengths():
    lengths = np.random.default_rng(0).integers(1, 1000, size=3200).tolist()
    order = batch_order(lengths, 32, 100, 1)
    spread = [np.ptp([lengths[i] for i in order[s : s + 32]]) for s in range(0, len(order), 32)]
    assert np.median(spread) < 50
