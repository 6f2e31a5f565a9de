"""Every token of a document is scored once, with the context the windows promise."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from components.evaluate.held_out import negative_log_likelihoods, windows
from tests.unit.finetuning.workspace import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    model, _ = save_model(tmp_path_factory.mktemp("model"), ["some text to learn from"], context=16)
    return model


@given(st.integers(0, 400), st.integers(2, 50))
def test_windows_score_every_token_once_with_half_a_context_before_it(length, context):
    scored = []
    for start, end, first in windows(length, context):
        assert end - start <= context and start <= first < end
        assert first == 0 or first - start >= context // 2
        scored += range(first, end)
    assert scored == list(range(length))


def test_a_document_within_the_context_is_scored_as_by_one_pass(model):
    document = [7, 8, 9, 10, 11, 0]
    with torch.inference_mode():
        logits = model(torch.tensor([[0, *document[:-1]]])).logits[0]
    expected = -torch.log_softmax(logits, -1)[range(6), document]
    (found,) = negative_log_likelihoods(model, [document], separator=0, context=16)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_neighbours_in_a_batch_change_nothing(model):
    random = np.random.default_rng(0)
    documents = [random.integers(5, 200, size=size).tolist() for size in (1, 40, 16, 17, 3, 90)]
    together = negative_log_likelihoods(model, documents, separator=0, context=16)
    for document, losses in zip(documents, together, strict=True):
        (alone,) = negative_log_likelihoods(model, [document], separator=0, context=16)
        np.testing.assert_allclose(losses, alone, rtol=1e-5)
        assert (losses > 0).all()


def test_progress_counts_every_token(model):
    counted = []
    negative_log_likelihoods(model, [[5] * 40, [6] * 3], separator=0, context=16, on_tokens=counted.append)
    assert sum(counted) == 43
