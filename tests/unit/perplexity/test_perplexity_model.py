"""The compiled scores are those of the Kneser-Ney model that they were made of; a model's file is checked."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from components.ngrams import NGramModel
from components.perplexity import training, units
from components.perplexity.model import PerplexityModel
from components.perplexity.training import train
from core.errors import InputProblem
from tests.unit.text_classifier.examples import texts


def tokens_of(model: PerplexityModel, text: str) -> list[int]:
    """The tokens by definition."""
    characters = {chr(code): units.FIRST + place for place, code in enumerate(model.characters.tolist())}
    words = {value: units.FIRST + len(characters) + place for place, value in enumerate(model.words.tolist())}
    found, word = [], ""
    for sign in [*text.lower(), " "]:
        sign = "0" if sign.isdecimal() else sign
        joins = sign.isalnum() or sign == "_"
        if joins:
            word += sign
            continue
        for unit in filter(None, [word, sign.strip()]):
            known = words.get(hashed(unit))
            found += (
                [known] if known is not None else [units.SPELLED, *(characters.get(c, units.UNKNOWN) for c in unit)]
            )
        word = ""
    return found


def hashed(word: str) -> int:
    (found,) = units.words(*units.laid_out_plain([word]), units.kinds_of_signs()).tolist()
    return found


@pytest.fixture(scope="module")
def sample():
    return texts("good", 400)


@pytest.fixture(scope="module")
def model(sample):
    return train(sample, [], 7).model


def test_tokens_are_those_of_the_definition(model):
    for text in ["The theorem of chapter 12, ok?", "zyx_9 🙂 the é", "", "a  a\n\na-b."]:
        tokens, begins, sizes = model.tokens([text])
        assert tokens.tolist() == tokens_of(model, text)
        plain = "".join("0" if sign.isdecimal() else sign for sign in "".join(text.lower().split()))
        assert sizes.tolist() == [len(plain.encode())] and begins.tolist() == [0, len(tokens)]


def test_scores_are_the_probabilities_of_the_model_that_keeps_every_count(model, sample, monkeypatch):
    monkeypatch.setattr(training, "_FEWEST", (1, 1, 1, 1, 1))
    whole, _ = training._fitted(sample[:200])
    documents = [whole.tokens([text])[0] for text in sample[:200]]
    reference = NGramModel(documents, len(whole.unigrams), units.ORDER, units.BEGIN)
    asked = [*sample[190:220], "Another thing altogether, the the the", "🙂🙂 zz"]
    for text, bits in zip(asked, whole.bits_per_byte(asked), strict=True):
        tokens, _, (size,) = whole.tokens([text])
        nats = -reference.log_probabilities([tokens])[0].sum()
        unknown = units.UNKNOWN_BITS * int((tokens == units.UNKNOWN).sum())
        assert bits == pytest.approx((nats / math.log(2) + unknown) / size, abs=1e-3)


documents = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(documents, st.integers(1, 4), st.integers(1, 3), st.lists(st.integers(0, 4), max_size=5))
def test_the_tables_sum_to_one_whatever_is_left_out(training_tokens, order, fewest, context):
    tables = NGramModel(training_tokens, 5, order, 0).backoff([1, *[fewest] * (order - 1)])
    grams = [dict(zip(map(tuple, t.grams.tolist()), t.probabilities, strict=True)) for t in tables]
    weights = [dict(zip(map(tuple, t.contexts.tolist()), t.weights, strict=True)) for t in tables]
    newest_first = tuple(([0] * order + context)[::-1][: order - 1])

    def probability(token: int, length: int) -> float:
        if length < 0:
            return 1 / 5
        own = newest_first[:length]
        if (token, *own) in grams[length]:
            return grams[length][token, *own]
        return weights[length].get(own, 1.0) * probability(token, length - 1)

    assert sum(probability(token, order - 1) for token in range(5)) == pytest.approx(1.0, abs=1e-9)


def test_a_text_scores_the_same_beside_others_and_worse_when_its_words_are_shuffled(model, monkeypatch):
    asked = texts("good", 50, seed=3)
    together = model.bits_per_byte(asked)
    monkeypatch.setattr("components.perplexity.model._PIECE", 10)
    assert model.bits_per_byte(asked) == together
    draw = random.Random(1)
    nonsense = ["".join(draw.sample(text, len(text))) for text in asked]
    assert np.mean(model.bits_per_byte(nonsense)) > 1.5 * np.mean(together)


def test_the_cutoffs_are_the_terciles_of_the_reference(sample):
    reference = texts("bad", 90)
    trained = train(sample, reference, 7)
    buckets = [trained.model.bucket(bits) for bits in trained.model.bits_per_byte(reference)]
    assert [buckets.count(name) for name in ("head", "middle", "tail")] == [30, 30, 30]
    assert trained.best[0] < trained.model.cutoffs[0] < trained.model.cutoffs[1] < trained.worst[0]
    metrics = trained.model.manifest["metrics"]
    assert metrics["bits_per_byte_unseen"] < metrics["baselines"]["unigram_bits_per_byte_unseen"]


def test_the_same_texts_give_the_same_file(tmp_path, sample, model):
    train(sample[::-1], [], 7).save(tmp_path / "a", {"name": "x"})
    train(sample, [], 7).save(tmp_path / "b", {"name": "x"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = PerplexityModel.read(tmp_path / "a", "a")
    assert again.bits_per_byte(sample[:20]) == model.bits_per_byte(sample[:20]) and len(again.digest) == 64
    assert again.manifest["texts"]["learnt"] == 340


def test_too_few_texts_are_refused_in_one_message(sample):
    with pytest.raises(InputProblem) as refused:
        train(sample[:299], sample[:89], 7)
    assert [problem.partition(":")[0] for problem in refused.value.problems] == ["--text", "--reference"]


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("words"),
        lambda arrays: arrays.update(words=arrays["words"][1:]),
        lambda arrays: arrays.update(costs=arrays["costs"].astype(np.int64)),
        lambda arrays: arrays.update(backoffs=arrays["backoffs"] - 1),
        lambda arrays: arrays.update(characters=arrays["characters"] + np.uint32(0x110000)),
        lambda arrays: arrays.update(more=arrays["costs"]),
        None,
    ],
    ids=range(7),
)
def test_another_file_is_refused(tmp_path, model, change):
    replace(model, manifest={}).save(tmp_path / "model")
    arrays, manifest = load((tmp_path / "model").read_bytes()), {"format": "stemma-perplexity-1", "cutoffs": [1.0, 2.0]}
    if change is None:
        manifest["cutoffs"] = [2.0, 1.0]
    else:
        change(arrays)
    (tmp_path / "model").write_bytes(save(arrays, {"manifest": json.dumps(manifest)}))
    with pytest.raises(InputProblem, match="some name: is no model that `stemma data train-perplexity` has written"):
        PerplexityModel.read(tmp_path / "model", "some name")
    (tmp_path / "model").write_bytes(b"\x80\x04pickle")
    with pytest.raises(InputProblem, match="is no model"):
        PerplexityModel.read(tmp_path / "model", "some name")
