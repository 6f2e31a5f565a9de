"""The pretrain stage in one process: what it makes, what it starts from, what it refuses."""

from __future__ import annotations

import csv
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import components
from components import pages
from components.pretrain.data import Batches, TokenSplit, TrainingOrder
from components.pretrain.loop import NonFinite
from components.pretrain.parameters import PretrainParameters
from components.pretrain.presets import PRESETS
from components.pretrain.stage import _steps
from core.errors import InputProblem
from tests.stage import run_component
from tests.unit.pretrain import tiny


def test_the_default_is_about_a_million_parameters():
    from components.pretrain.architecture import from_scratch

    tokenizer = SimpleNamespace(bos_token_id=0, eos_token_id=0, pad_token_id=1, __len__=lambda: 0)
    tokenizer = type("Sized", (), {**vars(tokenizer), "__len__": lambda self: 2048})()
    model = from_scratch(PretrainParameters().architecture, 128, tokenizer)
    assert sum(p.numel() for p in model.parameters()) == 1_066_112
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_a_seed_of_its_own_takes_the_place_of_the_workspace_s(workspace, made, tmp_path):
    short = {**tiny.PARAMETERS, "steps": 1, "evaluation_tokens": 64, "sample_prompts": []}
    weights = []
    for number, (of_stage, of_workspace) in enumerate(((7, 1337), (None, 7), (None, 1337))):
        folder = workspace if number == 0 else tiny.beside(tmp_path / str(number), made)
        run_component(components.load("pretrain"), folder, {**short, "seed": of_stage}, seed=of_workspace)
        weights.append((folder / "models/base/model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_the_model_folder_is_a_transformers_model_that_predicts_as_reported(finished):
    folder = finished / "models/base"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    made = AutoTokenizer.from_pretrained(finished / "models/tokenizer")
    assert tokenizer.get_vocab() == made.get_vocab() and tokenizer.chat_template == made.chat_template
    assert tokenizer.encode("def f(x):\n  return") == made.encode("def f(x):\n  return")
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id

    held = TokenSplit(finished / "data/tokens", "validation")
    context = tiny.PARAMETERS["seq_length"]
    total = 0.0
    for shard in held.shards:
        ids = torch.from_numpy(np.concatenate([[held.end], shard.astype(np.int64)]))
        for start in range(0, len(shard), context):
            piece = ids[start : start + context + 1]
            with torch.no_grad():
                logits = model(piece[None, :-1]).logits[0]
            total += torch.nn.functional.cross_entropy(logits, piece[1:], reduction="sum").item()
    report = json.loads((finished / "reports/pretrain/report.json").read_text())
    assert report["validation_loss"] == pytest.approx(total / held.tokens, rel=1e-5)
    assert report["validation_bits_per_byte"] == pytest.approx(total / math.log(2) / held.bytes, rel=1e-5)
    assert report["validation_tokens"] == held.tokens
    page = pages.pretrain.render(finished / "reports/pretrain").html()
    assert f"{report['parameters']:,} parameters" in page and "after step" in page


def test_it_learns_and_tells_of_it(finished):
    report = json.loads((finished / "reports/pretrain/report.json").read_text())
    assert report["steps"] == 80
    assert report["validation_loss"] < math.log(384)
    with open(finished / "reports/pretrain/curve.csv") as file:
        curve = list(csv.DictReader(file))
    assert [int(row["step"]) for row in curve] == list(range(5, 81, 5))
    assert float(curve[-1]["loss"]) < float(curve[0]["loss"])
    with open(finished / "reports/pretrain/validation.csv") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [20, 40, 60, 80]
    points = tiny.events(finished, "point")
    assert {"loss", "validation_loss"} <= {name for point in points for name in point["metrics"]}
    headline = tiny.events(finished, "metric")[0]
    assert headline["name"] == "validation_bits_per_byte" and headline["baselines"]["unigram"] > 0
    assert headline["stderr"] > 0 and headline["eval_set"] == "tokens"
    assert len(report["samples"]) == 4 and report["samples"][0]["text"].startswith("Return ")


def test_going_on_from_a_local_model(finished, workspace):
    context = tiny.pretrain(workspace, parent=finished / "models/base", steps=3)
    before = json.loads((finished / "reports/pretrain/report.json").read_text())["validation_loss"]
    with open(workspace / "reports/pretrain/curve.csv") as file:
        first = float(next(csv.DictReader(file))["loss"])
    assert first < before + 0.5, "it began from the weights"
    assert not context.warnings and context.environment == {"precision": "fp32"}


def test_another_vocabulary_is_resized_and_told(workspace, tmp_path):
    config = AutoConfig.for_model(
        "gpt2", n_embd=32, n_layer=1, n_head=2, n_positions=64, vocab_size=100, bos_token_id=0, eos_token_id=0
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "other")
    context = tiny.pretrain(workspace, parent=tmp_path / "other", steps=2)
    assert "100 rows" in context.warnings[0]
    assert AutoModelForCausalLM.from_pretrained(workspace / "models/base").config.vocab_size == 384


def test_a_mixture_of_experts_learns(workspace):
    mixture = PRESETS["mixtral-tiny"].settings["num_local_experts"]
    extra = {"num_local_experts": mixture, "num_experts_per_tok": 2, "output_router_logits": True}
    architecture = tiny.PARAMETERS["architecture"] | {"model_type": "mixtral", "extra": extra}
    tiny.pretrain(workspace, architecture=architecture, steps=20, sample_prompts=[])
    with open(workspace / "reports/pretrain/curve.csv") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0] - 0.3
    config = AutoModelForCausalLM.from_pretrained(workspace / "models/base").config
    assert (config.model_type, config.num_local_experts) == ("mixtral", mixture)


@pytest.mark.parametrize("model_type", ["gpt2", "qwen3", "gpt_neox", "mistral"])
def test_other_architectures(model_type, workspace):
    architecture = tiny.PARAMETERS["architecture"] | {"model_type": model_type, "extra": {}}
    if model_type == "gpt2":
        architecture |= {"intermediate_size": None, "extra": {"n_inner": 64}}
    tiny.pretrain(workspace, architecture=architecture, steps=2)
    model = AutoModelForCausalLM.from_pretrained(workspace / "models/base")
    assert model.config.model_type == model_type
    assert (model.config.hidden_size, model.config.num_hidden_layers, model.config.num_attention_heads) == (32, 2, 2)


def test_one_context_too_few_tokens_is_a_problem(workspace):
    with pytest.raises(InputProblem, match=r"pretrain\.seq_length: the largest training shard has \d+ tokens"):
        tiny.pretrain(workspace, seq_length=100_000)


def test_tokens_of_another_tokenizer_are_a_problem(workspace, made, tmp_path):
    other = AutoTokenizer.from_pretrained(made / "models/tokenizer")
    other.add_tokens(["surprise"])
    (workspace / "models/tokenizer").unlink()
    other.save_pretrained(workspace / "models/tokenizer")
    with pytest.raises(InputProblem, match="384 vocabulary entries and the tokenizer has 385"):
        tiny.pretrain(workspace)


def test_missing_tokens_and_unknown_models_are_problems(workspace, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputProblem, match=r"pretrain\.init: .* is not in models/parent, which is empty"):
        tiny.pretrain(workspace, parent=tmp_path / "empty")
    with pytest.raises(InputProblem, match=r"pretrain\.architecture"):
        tiny.pretrain(workspace, architecture={"model_type": "no_such_model"})
    (workspace / "data/tokens").unlink()
    with pytest.raises(InputProblem, match=r"no index\.json: run the tokenize stage"):
        tiny.pretrain(workspace)


@pytest.mark.parametrize(("at_once", "times"), [(6, 1), (2, 3)])
def test_a_loss_that_is_not_finite_stops_with_the_sequences_that_made_it(finished, workspace, tmp_path, at_once, times):
    model = AutoModelForCausalLM.from_pretrained(finished / "models/base")
    order = TrainingOrder(TokenSplit(workspace / "data/tokens", "train"), 32, 1337)
    windows = order.batch(0, 6)
    inputs, _ = order.read(windows)
    # A token that some of the sequences read and others do not.
    token = next(t for t in inputs.unique().tolist() if 0 < (inputs == t).any(dim=1).sum() < 3)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
    with torch.no_grad():
        model.model.embed_tokens.weight[token] = math.nan
    model.save_pretrained(tmp_path / "poisoned")
    bad = [order.describe(w) for w, row in zip(windows, inputs, strict=True) if (row == token).any()]
    with pytest.raises(NonFinite, match=rf"loss of step 1 is not finite in {len(bad)} of its .*") as caught:
        changes = {"per_device_batch_size": at_once, "gradient_accumulation_steps": times}
        tiny.pretrain(workspace, parent=tmp_path / "poisoned", **changes)
    for window in windows:
        assert (order.describe(window) in str(caught.value)) == (order.describe(window) in bad)


def test_a_gradient_that_is_not_finite_stops_with_its_batch(workspace, monkeypatch):
    import accelerate

    monkeypatch.setattr(accelerate.Accelerator, "clip_grad_norm_", lambda *_: torch.tensor(math.inf))
    with pytest.raises(NonFinite, match=r"gradient of step 1 is not finite .*train-0000\d\.bin tokens"):
        tiny.pretrain(workspace)


def test_weights_beyond_all_bounds_stop_the_training(finished, workspace, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(finished / "models/base")
    with torch.no_grad():
        model.model.norm.weight.fill_(1e38)
    model.save_pretrained(tmp_path / "diverged")
    with pytest.raises(NonFinite, match="not finite in 6 of its sequences"):
        tiny.pretrain(workspace, parent=tmp_path / "diverged")


def test_a_setting_that_transformers_refuses_is_a_problem(workspace):
    with pytest.raises(InputProblem, match=r"pretrain\.architecture: .*initializer_range"):
        tiny.pretrain(workspace, architecture={"extra": {"initializer_range": 1e19}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": {"hidden_size": 100, "num_attention_heads": 3}}, "not divisible by num_attention_heads 3"),
        ({"architecture": {"hidden_size": 12, "num_attention_heads": 4}}, "even number"),
        ({"architecture": {"num_key_value_heads": 3}}, "not divisible by num_key_value_heads 3"),
        ({"sharding": "fsdp2", "devices": 1}, "divides the model, and devices is 1"),
        ({"sharding": "zero3"}, "make optimizer adamw, or sharding fsdp2"),
        ({"batch_ramp_start": 4}, "go together"),
        ({"batch_ramp_start": 1, "batch_ramp_tokens": 100}, "batch_ramp_start 1 is not between devices 2 and"),
        ({"schedule": "wsd", "warmup_ratio": 0.9}, "more than the whole training"),
        ({"epochs": 2.0}, "steps and epochs set; set exactly one"),
        ({"steps": None}, "none of steps, epochs and tokens set"),
        ({"learning_rate": 0.0}, "greater than 0"),
        ({"optimizer": "sgd"}, "muon"),
        ({"step": 3}, "Extra inputs"),
    ],
)
def test_mistakes_are_told(changes, message):
    with pytest.raises(ValidationError, match=message):
        PretrainParameters(**changes)


def test_several_mistakes_are_told_together():
    with pytest.raises(ValidationError) as caught:
        PretrainParameters(schedule="wsd", warmup_ratio=0.9, epochs=1.0)
    assert "set exactly one" in str(caught.value) and "more than the whole training" in str(caught.value)


def test_budgets():
    def steps(**budget):
        parameters = PretrainParameters(**({"steps": None, "seq_length": 10} | budget))
        return _steps(parameters, windows=100, batches=Batches(4, 10))

    assert steps(steps=7) == 7
    assert steps(epochs=1.5) == 38
    assert steps(tokens=401) == 11
