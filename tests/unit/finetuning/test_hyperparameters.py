"""What ``auto`` chooses for a model, and which of a user's rates are warned of."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from components.contract import Context
from components.finetuning import adapters
from components.finetuning.hyperparameters import settle
from components.finetuning.parameters import AdapterParameters, FineTuningParameters

AUTO = {"optimizer": "auto", "learning_rate": "auto", "muon_learning_rate": "auto"}


def model(width=576, layers=30):
    """SmolLM2's shape, without memory."""
    with torch.device("meta"):
        return LlamaForCausalLM(
            LlamaConfig(
                hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers, num_attention_heads=8,
                vocab_size=49152,
            )
        )  # fmt: skip


def settled(tmp_path, parameters, subject, stage="instruct_finetune", examples=100):
    context = Context(parameters, 1, {}, {}, tmp_path)
    return settle(context, parameters, subject, examples, stage), context


def test_auto_follows_width_adapter_and_stage_and_says_why(tmp_path):
    parameters = FineTuningParameters(**AUTO)
    full, context = settled(tmp_path, parameters, model())
    assert full.optimizer == "adamw" and full.learning_rate == pytest.approx(2e-5 * (4096 / 576) ** 0.781, rel=0.05)
    assert (
        "arXiv:2311.10702" in context.environment["learning_rate"] and "muon_learning_rate" not in context.environment
    )
    assert settled(tmp_path, parameters, model(4096, 1))[0].learning_rate == pytest.approx(2e-5)
    lora = adapters.attach(model(), AdapterParameters(type="lora"), task="causal", seed=1)
    tuned, context = settled(tmp_path, parameters, lora)
    assert tuned.learning_rate == pytest.approx(10 * full.learning_rate, rel=0.05)
    assert "Schulman" in context.environment["learning_rate"]
    preference, _ = settled(tmp_path, parameters, model(), stage="preference_tune")
    assert preference.learning_rate == pytest.approx(full.learning_rate / 40, rel=0.05)


def test_rates_for_training_from_scratch_are_warned_of_on_a_pretrained_model_alone(tmp_path):
    given = FineTuningParameters(optimizer="muon", learning_rate=2e-3, muon_learning_rate=0.01)
    _, context = settled(tmp_path, given, model())
    assert [warning.split()[0] for warning in context.warnings] == [
        "instruct_finetune.learning_rate", "instruct_finetune.muon_learning_rate",
    ]  # fmt: skip
    assert "set it to auto" in context.warnings[0]
    assert settled(tmp_path, given, model(128, 2))[1].warnings == []
    near = FineTuningParameters(optimizer="adamw", learning_rate=1e-4)
    assert settled(tmp_path, near, model())[1].warnings == []


def test_epochs_become_steps(tmp_path):
    parameters = FineTuningParameters(steps=None, epochs=1.5, per_device_batch_size=8)
    assert settled(tmp_path, parameters, model(64, 1), examples=100)[0].steps == 19
    for wrong in ({"epochs": 1}, {"steps": None}):
        with pytest.raises(ValueError, match="exactly one of steps and epochs"):
            FineTuningParameters(**wrong)


@pytest.mark.parametrize("optimizer", ["adamw_8bit", "paged_adamw_8bit"])
def test_moments_of_8_bits_train(optimizer):
    from components.optimizers import build

    torch.manual_seed(0)
    layer = torch.nn.Linear(128, 128)
    stepper = build(layer, optimizer, learning_rate=1e-2)
    goal = torch.randn(64, 128)
    losses: list[float] = []
    for _ in range(5):
        loss = (layer(goal) - goal).square().mean()
        losses.append(loss.item())
        stepper.zero_grad()
        loss.backward()
        stepper.step()
    assert losses[-1] < losses[0]
