"""A model is loaded and asked as serving would; every way of being broken is named, and none takes the gate along."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import load_file, save_file

import registry.promotion.trial
from registry.promotion.trial import try_model
from tests.tiny_decoder import WORDS, save


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save(tmp_path / "model", 1.0)
    return tmp_path / "model"


def rewrite(model: Path, change) -> None:
    weights = load_file(model / "model.safetensors")
    change(weights)
    save_file(weights, model / "model.safetensors")


def configure(model: Path, **values: object) -> None:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_healthy_model(model):
    trial = try_model(model)
    assert trial.fault is None
    assert trial.passed == [
        ("model loads", "LlamaForCausalLM, 600 parameters, tokenizer of 8 entries"),
        ("generation", "from the start of a text: 'one two three four five six'"),
    ]


def test_a_scoring_model(model):
    def to_scores(weights):
        del weights["lm_head.weight"]
        weights["score.weight"] = numpy.ones((3, 8), dtype="float32")

    rewrite(model, to_scores)
    configure(model, architectures=["LlamaForSequenceClassification"], num_labels=3)
    trial = try_model(model)
    assert trial.fault is None and trial.passed[1] == ("scores", "3 finite scores")


def always(token: int):
    def change(weights):
        head = numpy.zeros((8, 8), dtype="float32")
        head[token] = 1
        weights["lm_head.weight"] = head

    return change


def broken(weights):
    weights["model.norm.weight"][:] = numpy.nan


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (broken, "not finite numbers"),
        (always(3), "repeats 'three three"),
        (always(WORDS.index("<end>")), "from the start of a text: generates nothing"),
        (lambda weights: weights.pop("lm_head.weight"), "needs are not in the files: lm_head.weight"),
    ],
)
def test_broken_weights(model, change, fault):
    rewrite(model, change)
    trial = try_model(model)
    assert trial.passed == [] and fault in trial.fault


def test_broken_files(model):
    configure(model, architectures=None)
    assert "names no architecture" in try_model(model).fault
    configure(model, architectures=["LlamaForCausalLM"])
    (model / "tokenizer.json").unlink()
    assert "Error" in try_model(model).fault
    (model / "config.json").write_text("{")
    assert "Error" in try_model(model).fault


def test_a_tokenizer_that_does_not_fit(model):
    path = model / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"]["seven"] = len(WORDS)
    path.write_text(json.dumps(tokenizer))
    assert "the tokenizer has 9 entries and the model 8 embeddings" in try_model(model).fault


def test_it_may_hang_or_die(model, monkeypatch):
    assert "within 0.001 s" in try_model(model, timeout=0.001).fault
    monkeypatch.setattr(registry.promotion.trial, "_try", _die)
    assert "died (exit code 9)" in try_model(model).fault


def _die(files: str, sender) -> None:
    os._exit(9)
