"""What all fine-tuning stages have in common: a batch in parts is the batch, and both precisions train."""

import math
from itertools import count

import numpy as np
import pytest

from components import classify_finetune, instruct_finetune, preference_tune, reward_model
from components.contract import Context
from components.conversations import encode
from components.finetuning import adapters
from components.finetuning.models import load_causal, load_reward_model, load_tokenizer
from components.finetuning.pairs import Pair
from tests.unit.finetuning.workspace import quick, signature_records, write_model

# Answers of very different lengths: a mean over each part's tokens is then not the mean over the batch's.
WORDS = ("alpha", "beta gamma delta omega sigma kappa", "theta alpha beta")


def _conversations():
    return [
        [{"role": "user", "content": record["prompt"]}, {"role": "assistant", "content": f" {WORDS[row % 3]}"}]
        for row, record in enumerate(signature_records(48))
    ]


def _pairs():
    return [
        Pair({"prompt": record["prompt"], "group": str(row)}, f" {WORDS[1 + row % 2]}", f" {WORDS[0]}", None)
        for row, record in enumerate(signature_records(48))
    ]


def attached(context, model, task):
    return adapters.attach(model, context.parameters.adapter, task=task, seed=1)


def classify(context, folder, tokenizer):
    from components.classify_finetune.classifier import load_classifier
    from components.classify_finetune.labels import LabelledTexts, Split
    from components.classify_finetune.stage import fit

    texts = [f"{record['prompt']} {WORDS[row % 3]}" for row, record in enumerate(signature_records(48))]
    split = Split(texts, np.arange(48) % 3, texts)
    options = adapters.loading(context.parameters)
    model = load_classifier(folder, ("a", "b", "c"), tokenizer.pad_token_id, seed=1, **options)
    model = attached(context, model, "classification")
    data = LabelledTexts(["a", "b", "c"], split, split, split)
    return fit(context, model, tokenizer, data, tokenizer(texts)["input_ids"])


def instruct(context, folder, tokenizer):
    from components.instruct_finetune.stage import fit

    model = load_causal(folder, **adapters.loading(context.parameters))
    return fit(context, attached(context, model, "causal"), tokenizer, encode(tokenizer, _conversations()))


def reward(context, folder, tokenizer):
    from components.reward_model.stage import fit

    model = load_reward_model(folder, seed=1, **adapters.loading(context.parameters))
    return fit(context, attached(context, model, "classification"), tokenizer, _pairs())


def preference(context, folder, tokenizer):
    from components.preference_tune.dpo import fit

    policy = attached(context, load_causal(folder, **adapters.loading(context.parameters)), "causal")
    reference = load_causal(folder) if context.parameters.adapter.type == "none" else None
    return fit(context, policy, reference, tokenizer, _pairs())


STAGES = {
    "classify_finetune": (classify_finetune.component, classify),
    "instruct_finetune": (instruct_finetune.component, instruct),
    "reward_model": (reward_model.component, reward),
    "preference_tune": (preference_tune.component, preference),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function that trains a stage's model for a few steps and returns the curve."""
    folder = tmp_path_factory.mktemp("base")
    write_model(folder)
    numbers = count()

    def train(stage, **training):
        component, fit = STAGES[stage]
        parameters = component.parameters(**{**quick(3, checkpoint_every=3), **training})
        root = tmp_path_factory.mktemp(f"{stage}-{next(numbers)}")
        return fit(Context(parameters, 1337, {}, {}, root), folder, load_tokenizer(folder))

    return train


@pytest.mark.parametrize("stage", STAGES)
def test_a_batch_in_parts_has_the_losses_and_gradients_of_the_whole(trained, stage):
    # Gradients are clipped at their norm as logged: one that is a multiple would train otherwise.
    whole, parts = (
        trained(stage, optimizer="adamw", per_device_batch_size=8 // parts, gradient_accumulation_steps=parts)
        for parts in (1, 4)
    )
    for one, other in zip(whole, parts, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=2e-5)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "kind"),
    [*((stage, "lora") for stage in STAGES), ("classify_finetune", "qlora"), ("preference_tune", "qlora")],
)
def test_an_adapter_learns_in_every_stage(trained, stage, kind):
    adapter = {"type": kind, "rank": 8}
    training = {"optimizer": "adamw", "learning_rate": 0.01, "schedule": "constant", "per_device_batch_size": 48}
    curve = trained(stage, adapter=adapter, steps=6, checkpoint_every=6, **training)  # every step sees all examples
    assert curve[-1]["loss"] < curve[0]["loss"] - 0.005


@pytest.mark.parametrize(
    ("stage", "optimizer"),
    [*((stage, "adamw") for stage in STAGES), ("instruct_finetune", "muon"), ("reward_model", "muon")],
)
def test_bfloat16_trains_like_float32_with_its_own_rounding(trained, stage, optimizer):
    curves = {p: trained(stage, optimizer=optimizer, precision=p) for p in ("fp32", "bf16")}
    losses = {precision: [point["loss"] for point in curve] for precision, curve in curves.items()}
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.03)
    assert all(math.isfinite(value) for point in curves["bf16"] for value in point.values())


@pytest.mark.parametrize("stage", ["instruct_finetune", "preference_tune"])
def test_activations_that_are_computed_again_train_to_the_same_numbers(trained, stage, monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaMLP

    calls, forward = count(), LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", lambda *given: (next(calls), forward(*given))[1])
    curves, before = [], next(calls)
    computed = []
    for again in (False, True):
        curves.append(trained(stage, adapter={"type": "lora"}, precision="bf16", gradient_checkpointing=again))
        computed.append(next(calls) - before)
        before += computed[-1]
    assert curves[0] == curves[1] and computed[1] > 1.2 * computed[0]
