"""A model is loaded and asked as serving would; every way of being broken is named, and none takes the gate along."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
from safetensors.numpy import load_file, save_file

import registry.promotion.trial
from core import python
from registry.promotion.template_trial import DoesNotEnd, require_end
from registry.promotion.trial import Trial, try_model
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


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{% for m in messages %}{% if 'xyzzy' in m.content %}" + LOOP + "{% endif %}{% endfor %}", "does not end"),
        ("{% if messages[0].content == 'open\\nsesame' %}" + LOOP + "{% endif %}", "on 'open\\nsesame'"),
        ("{% for m in messages if m.role == 'assistant' %}" + LOOP + "{% endfor %}", "on a conversation"),
        ("{{ messages[0].content * (10 ** 12 if 'xyzzy' in messages[0].content else 1) }}", "memory"),
        ("{{ messages[0].content * (10 ** 6 if messages[0].content == 'xyzzy' else 1) }}", "characters of 5"),
    ],
)
def test_a_template_that_does_not_end_on_one_of_its_words_is_found(template, fault):
    with pytest.raises(DoesNotEnd, match=re.escape(fault)):
        require_end(template, {}, seconds=0.3)


def test_templates_of_well_known_models_end():
    """In their ways: tools, refusals of roles and orders, dates, white space."""
    for template in (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}",
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ strftime_now('%d') }}",
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% endif %}{% endfor %}",
        "{{ broken",
    ):
        require_end(template, {"bos_token": "<s>"})


def test_the_gate_names_a_template_that_does_not_end(model):
    path = model / "tokenizer_config.json"
    template = "{% for m in messages %}{% if 'xyzzy' in m.content %}" + LOOP + "{% endif %}{{ m.content }}{% endfor %}"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    assert "the chat template does not end within 2 s" in try_model(model).fault


def test_it_may_hang_or_die(model, monkeypatch):
    assert "within 0.001 s" in try_model(model, timeout=0.001).fault
    monkeypatch.setattr(registry.promotion.trial, "_try", _die)
    assert "died (exit code 9)" in try_model(model).fault


def _die(files: str, sender) -> None:
    os._exit(9)


def test_the_process_does_without_bitsandbytes_where_the_model_does(tmp_path, monkeypatch):
    hidden, told = [], []
    monkeypatch.setattr(python, "hide", lambda *names: hidden.extend(names))
    monkeypatch.setattr("registry.promotion.sanity.examine", lambda folder: [])
    registry.promotion.trial._try(str(tmp_path), SimpleNamespace(send=told.append))
    assert hidden == ["bitsandbytes"] and told == [Trial([])]
