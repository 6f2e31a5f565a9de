"""Training: the tokenizer that `tokenizers` trains, whichever library does it."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.tokenize import training
from components.tokenize.corpus import array
from tests.unit.tokenize.stdlib_corpus import docstrings


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


def both(texts, scratch, **parameters):
    """What is trained, by gigatoken as far as it serves, and by `tokenizers`; and whether gigatoken did serve."""

    def read():
        return [array(texts)]

    fast = training._trained_fast(read, scratch=scratch, **parameters)
    made = training.train(read, scratch=scratch, **parameters).to_str()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "gigatoken.gigatoken_rs", None)  # as if it were not installed
        reference = training.train(read, scratch=scratch, **parameters).to_str()
    assert not list(scratch.iterdir())
    return made, reference, fast is not None


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.one_of(st.text(), st.text(alphabet="ab c1\n\u00e9\u6f22")), min_size=1, max_size=20),
    more=st.integers(1, 40),
    frequency=st.integers(1, 3),
)
def test_ties_are_decided_alike(scratch, texts, more, frequency):
    made, reference, _ = both(texts, scratch, vocabulary_size=261 + more, min_frequency=frequency)
    assert made == reference


def test_gigatoken_trains_the_same_tokenizer_on_real_text(scratch, capfd):
    texts = [document["text"] for document in docstrings(400)]
    made, reference, fast = both(texts, scratch, vocabulary_size=1000, min_frequency=2)
    assert made == reference and fast
    assert capfd.readouterr() == ("", "")


def test_pairs_that_are_too_rare_are_left_to_the_reference(scratch):
    texts = ["one word is seen often often often often, the others once"]
    made, reference, fast = both(texts, scratch, vocabulary_size=290, min_frequency=3)
    assert made == reference and not fast


def test_the_budget_of_bytes_ends_after_a_whole_batch():
    batches = [array(["ab", "c"]), array(["de"]), array(["f"])]
    assert [len(texts) for texts in training.limited(iter(batches), 4)] == [2, 1]
