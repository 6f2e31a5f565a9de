"""A decoder that cannot be trained here is refused by its settings, before anything of it is made."""

import pytest

from components.pretrain import memory
from components.pretrain.parameters import PretrainParameters
from components.pretrain.presets import PRESETS
from flows.pipeline.prepare import problems_of_memory

HUGE = {"hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 126, "num_attention_heads": 128}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(memory, "memory_here", lambda: (24e9, "this machine", False))


def said(**parameters):
    return memory.problem(PretrainParameters(**parameters))


def test_it_says_what_is_needed_what_there_is_and_what_would_fit(small):
    preset = max(PRESETS, key=lambda name: PRESETS[name].parameters)
    found = said(architecture={"preset": preset}, optimizer="adamw")
    assert f"at least {PRESETS[preset].parameters * 16 / 1e12:.3g} TB" in found and "this machine has 24 GB" in found
    assert "pretrain.architecture makes at least 28" in said(architecture=HUGE)
    named = found.partition("the largest preset that fits is ")[2].partition(",")[0]
    assert said(architecture={"preset": named}, optimizer="adamw") is None
    larger = [name for name in PRESETS if PRESETS[name].parameters > PRESETS[named].parameters]
    assert all(said(architecture={"preset": name}, optimizer="adamw") for name in larger)


def test_what_is_not_made_here_or_fits_is_not_refused(small):
    assert said() is None and said(architecture=HUGE, steps=0, init="../model") is None
    values = {"pretrain": {"architecture": HUGE}}
    assert "params.yaml: pretrain.architecture" in problems_of_memory(["pretrain"], values)[0]
    assert problems_of_memory(["tokenize"], values) == []
    assert problems_of_memory(["pretrain"], {**values, "compute": {"pretrain": {"kind": "ray"}}}) == []
