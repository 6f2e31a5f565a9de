"""Encoding: the ids of `tokenizers`, whichever encoder writes them."""

from __future__ import annotations

import builtins
import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from components.tokenize import encoding, training
from components.tokenize.corpus import array
from components.tokenize.encoding import Encoder, choose

# Letters, marks that Unicode 16 and 17 brought, marks that change places, spaces, and what the separator is made of.
CHARACTERS = "ab1' .\n\u00e9\u0301\u0323\u0345\u1ac5\u1ae6\u0897\u1e4ec\u3000\u6f22\u2581\ufdd0\ufdd1\U000105d2\u0307"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    texts = ["This is it: the text's own 1234 words, le caf\u00e9 noir\n\n    def a(self):\n        return a" * 3] * 3
    scratch = tmp_path_factory.mktemp("scratch")
    return training.train(lambda: [array(texts)], vocabulary_size=400, min_frequency=2, scratch=scratch)


@pytest.fixture(scope="module")
def encoders(tokenizer) -> dict[str, tuple[Encoder, Encoder]]:
    """A fast and a slow encoder: of a tokenizer as it is trained here, and of one that normalizes, as Qwen's does."""
    body = json.loads(tokenizer.to_str())
    body["normalizer"] = {"type": "NFC"}
    return {
        name: (Encoder(Tokenizer.from_str(content), 0, fast=True), Encoder(Tokenizer.from_str(content), 0, fast=False))
        for name, content in (("plain", tokenizer.to_str()), ("normalizing", json.dumps(body)))
    }


@pytest.mark.parametrize("name", ["plain", "normalizing"])
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.one_of(st.text(), st.text(alphabet=CHARACTERS), st.just("<|user|><|endoftext|>")), max_size=8))
def test_both_encoders_give_the_same_ids(encoders, tokenizer, name, texts):
    array = pa.array(["before", *texts, "after"], pa.large_string())[1:-1]  # its buffers hold more than its texts
    (ids, lengths), expected = (encoder.encode(array) for encoder in encoders[name])
    assert np.array_equal(ids, expected[0]) and np.array_equal(lengths, expected[1])
    assert lengths.sum() == len(ids)
    if name == "plain":
        documents = np.split(ids, np.cumsum(lengths))[:-1]
        assert all(document[-1] == 0 for document in documents)
        assert [tokenizer.decode(document[:-1].tolist(), skip_special_tokens=False) for document in documents] == texts


def test_characters_of_a_newer_unicode_are_left_to_the_reference(encoders):
    fast, _ = encoders["normalizing"]
    fast.encode(pa.array(["a\u0897", "\U000105d2\u0307"], pa.large_string()))
    assert {"\u0897", "\U000105d2"} <= set(fast.avoided) and "\u0301" not in fast.avoided


def test_the_fast_one_is_chosen_and_named(tokenizer):
    encoder, name = choose(tokenizer, 0, ["some text"])
    assert name.startswith("gigatoken ") and encoder._fast is not None


def test_a_difference_on_a_document_of_the_corpus_means_the_slow_one(tokenizer, monkeypatch):
    body = json.loads(tokenizer.to_str())
    first = body["model"]["merges"].pop(0)  # gigatoken is given other merges than the reference
    other = Tokenizer.from_str(json.dumps(body))
    monkeypatch.setattr(encoding, "_gigatoken", lambda _, end, load=encoding._gigatoken: load(other, end))
    encoder, name = choose(tokenizer, 0, ["".join(first)])
    assert name.startswith("tokenizers ") and "texts differently, such as" in name and encoder._fast is None


def test_what_gigatoken_does_not_know_is_left_to_the_reference(tokenizer, monkeypatch):
    body = json.loads(tokenizer.to_str())
    del body["model"]["vocab"]["\u0100"]  # the byte 00
    encoder, name = choose(Tokenizer.from_str(json.dumps(body)), 0, ["some text"])
    assert "gigatoken: it does not take this tokenizer" in name
    assert len(encoder.encode(pa.array(["some text"], pa.large_string()))[0]) > 1
    original = builtins.__import__
    monkeypatch.setattr(
        builtins, "__import__",
        lambda name, *rest: (_ for _ in ()).throw(ImportError(name)) if name == "gigatoken" else original(name, *rest),
    )  # fmt: skip
    assert "gigatoken: it is not installed" in choose(tokenizer, 0, [])[1]
