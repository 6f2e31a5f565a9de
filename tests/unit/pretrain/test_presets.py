"""Presets make exactly the models that were published under their names; counted without memory for the weights."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM

from components.harness.parameters import validate
from components.pretrain.architecture import _settings
from components.pretrain.parameters import PretrainParameters
from components.pretrain.presets import PRESETS, configuration
from core import parameters_file
from tests.workspace import REPOSITORY

PUBLISHED = {
    "gpt2-small": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "llama-13m": 12_681_280,
    "llama2-7b": 6_738_415_616,
    "llama3-8b": 8_030_261_248,
    "llama3-70b": 70_553_706_496,
    "mixtral-8x7b": 46_702_792_704,
    "gpt-oss-20b": 20_914_757_184,
}


def on_meta(name: str) -> torch.nn.Module:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(configuration(name))


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_total_and_active(name):
    model, preset = on_meta(name), PRESETS[name]
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == preset.parameters == PUBLISHED.get(name, preset.parameters)
    # Experts' weights are stacked, [experts, ...]; a token passes through num_experts_per_tok of them.
    experts = getattr(model.config, "num_local_experts", 1)
    used = getattr(model.config, "num_experts_per_tok", 1)
    stacked = [parameter for name, parameter in model.named_parameters() if ".experts." in name]
    assert all(parameter.shape[0] == experts for parameter in stacked)
    assert total - sum(parameter.numel() for parameter in stacked) * (experts - used) // experts == preset.active
    assert bool(stacked) == (preset.active < preset.parameters)


def test_published_active_parameters_of_the_mixtures():
    assert round(PRESETS["mixtral-8x7b"].active / 1e9, 1) == 12.9
    oss = PRESETS["gpt-oss-20b"]
    embedding = oss.vocabulary * oss.settings["hidden_size"]
    assert round((oss.active - embedding) / 1e9, 2) == 3.61, "the model card leaves the embedding out"


@pytest.fixture(scope="module")
def shipped():
    return parameters_file.read(REPOSITORY / "params.yaml")


@pytest.mark.parametrize("name", PRESETS)
def test_the_name_alone_brings_every_setting_and_one_beside_it_overrides(shipped, name):
    pretrain = copy.deepcopy(shipped["pretrain"])
    pretrain["architecture"]["preset"] = name
    preset = PRESETS[name]
    assert _settings(_architecture(pretrain)) == (preset.model_type, dict(preset.settings))
    pretrain["architecture"]["num_hidden_layers"] = 1
    assert _settings(_architecture(pretrain)) == (preset.model_type, {**preset.settings, "num_hidden_layers": 1})


def _architecture(pretrain):
    return validate({"pretrain": pretrain}, "pretrain", PretrainParameters).architecture


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_is_one_that_its_configuration_knows(name):
    config = configuration(name)
    bare = type(config)()
    for setting, value in PRESETS[name].settings.items():
        assert hasattr(bare, setting), setting
        assert getattr(config, setting) == value


def test_changes_come_over_the_presets_settings():
    config = configuration("llama3-8b", num_hidden_layers=2, vocab_size=1000)
    assert (config.num_hidden_layers, config.vocab_size, config.num_key_value_heads) == (2, 1000, 8)
    assert PRESETS["llama3-8b"].settings["num_hidden_layers"] == 32


def test_reading_the_presets_imports_nothing_heavy():
    script = "import sys, components.pretrain.presets; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
