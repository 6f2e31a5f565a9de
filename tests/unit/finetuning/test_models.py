"""Loading and saving models: what is refused in a sentence, and what a saved folder says."""

import json

import pytest
from transformers import GenerationConfig, T5Config

from components.finetuning.families import require_decoder
from components.finetuning.models import load_causal, load_tokenizer, save
from core.errors import InputProblem
from tests.unit.finetuning.workspace import write_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "base"
    write_model(folder)
    return folder


def test_an_encoder_decoder_is_refused_in_a_sentence(tmp_path):
    T5Config().save_pretrained(tmp_path / "base")
    for load in (require_decoder, load_causal):
        with pytest.raises(InputProblem) as caught:
            load(tmp_path / "base")
        [problem] = caught.value.problems
        assert problem.startswith("models/base: a model of type t5") and len(problem) < 200


def test_an_architecture_that_transformers_does_not_know_is_an_input_problem(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "nothing_known"}')
    with pytest.raises(InputProblem, match="nothing_known"):
        load_causal(tmp_path)


@pytest.mark.parametrize(
    ("parent", "kept"),
    [
        ({}, {"do_sample": False}),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.9, "max_new_tokens": 512},) * 2,
        ({"temperature": 0.7}, {"temperature": 0.7, "do_sample": True}),
    ],
)
def test_the_parents_generation_settings_are_kept(folder, tmp_path, parent, kept):
    model, tokenizer = load_causal(folder), load_tokenizer(folder)
    model.generation_config = GenerationConfig(eos_token_id=4, **parent)
    save(model, tokenizer, tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert saved["eos_token_id"] == [tokenizer.eos_token_id, 4]
    assert saved["pad_token_id"] == tokenizer.pad_token_id
    names = ("do_sample", "temperature", "top_p", "max_new_tokens")
    assert {name: saved[name] for name in names if name in saved} == kept


def test_a_model_without_a_tokenizer_or_with_a_broken_one_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(InputProblem, match="models/base: the model has no tokenizer"):
        load_tokenizer(tmp_path / "base")
    write_model(tmp_path / "base")
    (tmp_path / "base/tokenizer.json").write_text("{}")
    with pytest.raises(InputProblem, match="models/base: the tokenizer cannot be read") as caught:
        load_tokenizer(tmp_path / "base")
    assert len(caught.value.problems) == 1


def test_weights_that_are_cut_off_are_refused_in_a_sentence(tmp_path):
    write_model(tmp_path / "base")
    path = tmp_path / "base/model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputProblem, match="models/base: transformers cannot load this model"):
        load_causal(tmp_path / "base")
