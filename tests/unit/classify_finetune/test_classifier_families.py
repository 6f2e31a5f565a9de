"""Encoders and encoder-decoders as classifiers: padding, positions, ends, and what of them learns."""

import json

import numpy as np
import pytest
import torch

from components.classify_finetune import component
from components.classify_finetune.classifier import choose_trained, encode_texts, load_classifier, predict
from components.finetuning.models import context_length, give_padding, load_tokenizer
from core.errors import InputProblem
from tests.stage import run_component, run_until_stopped
from tests.unit.classify_finetune.test_labels import write
from tests.unit.finetuning.tiny import save

SPORT, FOOD = "the ball goal team match keeper field won", "soup salt bread oven onion rice pot bake"
QUICK = {"steps": 8, "per_device_batch_size": 8, "checkpoint_every": 4, "log_every": 2, "optimizer": "adamw"}


def prepare(workspace, family, **settings):
    (workspace / "data").mkdir()
    random = np.random.default_rng(0)
    rows = [
        (" ".join(random.permutation(words.split())[: 3 + number % 4]), label, f"{label}{number}")
        for number in range(40)
        for label, words in (("sport", SPORT), ("food", FOOD))
    ]
    write(workspace / "data/labels", names=("food", "sport"), train=rows[:48], validation=rows[48:64], test=rows[64:])
    save(workspace / "models/base", family, **settings)
    return workspace


@pytest.fixture(scope="module", params=["bert", "roberta", "modernbert", "distilbert", "albert", "t5", "bart", "gpt2"])
def base(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "base"
    save(folder, request.param)
    return request.param, folder


def test_padding_changes_no_score(base):
    _, folder = base
    tokenizer = load_tokenizer(folder)
    pad = give_padding(tokenizer, folder)
    model = load_classifier(folder, ("a", "b", "c"), pad, seed=1)
    end = model.config.eos_token_id if model.config.is_encoder_decoder else None
    encoded = encode_texts(tokenizer, ["the ball", "soup salt bread oven onion rice pot bake the keeper"], end=end)
    together = predict(model, encoded, pad=pad, batch_size=2, advance=lambda n: None)
    alone = predict(model, encoded, pad=pad, batch_size=1, advance=lambda n: None)
    assert together.shape == (2, 3)
    np.testing.assert_allclose(together, alone, atol=2e-6)


@pytest.mark.parametrize("train", ["head", "last_layer", "all"])
def test_what_learns(base, train):
    family, folder = base
    model = load_classifier(folder, ("a", "b"), give_padding(load_tokenizer(folder), folder), seed=1)
    count = choose_trained(model, train)
    learning = {name for name, weights in model.named_parameters() if weights.requires_grad}
    inside = {name for name in learning if name.startswith(f"{model.base_model_prefix}.")}
    assert learning - inside, "the head always learns"
    assert count == sum(w.numel() for w in model.parameters() if w.requires_grad)
    if train == "head":
        assert not inside
    elif train == "last_layer":
        assert inside and not any("embed" in name or "wte" in name for name in inside)
        assert not any(".0." in name.replace("sublayer.0", "").replace("layer.0.Self", "") for name in inside) or (
            family in ("albert", "t5")  # one block, used twice; parts of a block that are numbered
        )
    else:
        assert learning == {name for name, _ in model.named_parameters()}


def test_the_longest_text_is_as_long_as_the_model_takes(base):
    _, folder = base
    tokenizer = load_tokenizer(folder)
    pad = give_padding(tokenizer, folder)
    model = load_classifier(folder, ("a", "b"), pad, seed=1)
    assert context_length(model, tokenizer) == 64
    tokenizer.model_max_length = context_length(model, tokenizer)
    end = model.config.eos_token_id if model.config.is_encoder_decoder else None
    encoded = encode_texts(tokenizer, ["ball " * 200], end=end)
    assert len(encoded[0]) == 64
    assert np.isfinite(predict(model, encoded, pad=pad, batch_size=1, advance=lambda n: None)).all()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bert", "t5"])
def test_the_stage_learns_saves_and_goes_on_exactly(family, tmp_path_factory):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    parameters = {**QUICK, "steps": 24, "checkpoint_every": 12, "learning_rate": 0.01}
    context = run_component(component, prepare(tmp_path_factory.mktemp("whole"), family), parameters)
    accuracy = next(metric for metric in context.metrics if metric.name == "accuracy")
    assert accuracy.value > accuracy.baselines["majority"] + 0.3
    folder = context.outputs["model"]
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 64

    stopped = prepare(tmp_path_factory.mktemp("stopped"), family)
    run_until_stopped(component, stopped, parameters, step=12)
    resumed = run_component(component, stopped, parameters)
    again = AutoModelForSequenceClassification.from_pretrained(resumed.outputs["model"]).state_dict()
    assert all(torch.equal(weights, again[name]) for name, weights in model.state_dict().items())


def test_an_end_token_that_a_text_spells_does_not_end_it(tmp_path):
    save(tmp_path / "base", "t5")
    tokenizer = load_tokenizer(tmp_path / "base")
    end = tokenizer.eos_token_id
    tokenizer.add_tokens(["</s>"])
    [first, second] = encode_texts(tokenizer, ["ball </s> soup", "ball"], end=end)
    assert first.count(end) == second.count(end) == 1 and first[-1] == end


def test_a_classifier_of_other_labels_gets_another_head(tmp_path):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    _, tokenizer = save(tmp_path / "other", "bert")
    config = AutoConfig.from_pretrained(tmp_path / "other", num_labels=5)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    assert load_classifier(tmp_path / "base", ("a", "b"), 0, seed=1).config.num_labels == 2


def test_what_cannot_be_a_classifier_is_one_sentence(tmp_path):
    for settings, said in (
        ({"model_type": "vit"}, "neither a decoder nor an encoder of text"),
        ({"model_type": "nobody_knows"}, "does not know models of type 'nobody_knows'"),
        ({"model_type": "marian"}, "no classifier of type marian"),
        ({"hidden_size": 3}, "names no model_type"),
    ):
        (tmp_path / "base").mkdir(exist_ok=True)
        (tmp_path / "base/config.json").write_text(json.dumps(settings))
        with pytest.raises(InputProblem, match=said) as caught:
            load_classifier(tmp_path / "base", ("a", "b"), 0, seed=1)
        assert len(caught.value.problems) == 1


def test_weights_that_are_not_in_the_files_are_named(tmp_path):
    from safetensors.torch import load_file, save_file

    save(tmp_path / "base", "bert")
    weights = load_file(tmp_path / "base/model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "base/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputProblem, match=r"not in the files: bert\.encoder\.layer\.1\.output\.dense\.weight"):
        load_classifier(tmp_path / "base", ("a", "b"), 0, seed=1)


@pytest.mark.slow
def test_an_adapter_learns_with_the_head_and_is_saved(base, tmp_path):
    from components.classify_finetune import ClassifyFinetuneParameters, stage
    from components.classify_finetune.labels import LabelledTexts, Split
    from components.contract import Context
    from components.finetuning import adapters
    from components.finetuning.models import save as save_model

    _, folder = base
    parameters = ClassifyFinetuneParameters(
        steps=2, per_device_batch_size=2, checkpoint_every=2, log_every=1, learning_rate=0.05, optimizer="adamw",
        adapter={"type": "lora", "rank": 2},
    )  # fmt: skip
    tokenizer = load_tokenizer(folder)
    pad = give_padding(tokenizer, folder)
    model = load_classifier(folder, ("a", "b"), pad, seed=1, **adapters.loading(parameters))
    model = adapters.attach(model, parameters.adapter, task="classification", seed=1)
    end = model.config.eos_token_id if model.config.is_encoder_decoder else None
    texts = ["the ball", "soup salt", "team won the match", "bake bread"]
    encoded = encode_texts(tokenizer, texts, end=end)
    data = LabelledTexts(["a", "b"], *[Split(texts, np.array([0, 1, 0, 1]), texts)] * 3)
    before = predict(model, encoded, pad=pad, batch_size=4, advance=lambda n: None)
    stage.fit(Context(parameters, 1, {}, {}, tmp_path), model, tokenizer, data, encoded)
    model = adapters.finished(model, parameters.adapter)
    after = predict(model, encoded, pad=pad, batch_size=4, advance=lambda n: None)
    assert np.abs(after - before).max() > 1e-3
    save_model(model, tokenizer, tmp_path / "model", base=folder)
    again = load_classifier(tmp_path / "model", ("a", "b"), pad, seed=2)
    assert not again.fresh_weights
    np.testing.assert_allclose(predict(again, encoded, pad=pad, batch_size=4, advance=lambda n: None), after, atol=1e-5)
