"""A model that cannot be trained here is refused by the headers of its files."""

from __future__ import annotations

import json
import struct

import pytest

from components.finetuning import memory
from components.finetuning.parameters import FineTuningParameters
from core.errors import InputProblem
from flows.pipeline import parent_model


@pytest.fixture
def model(tmp_path):
    """The header of 70 billion weights, and nothing behind it."""
    header = json.dumps({"w": {"dtype": "BF16", "shape": [70, 1_000_000_000], "data_offsets": [0, 0]}}).encode()
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder


def parameters(kind):
    return FineTuningParameters(adapter={"type": kind}, precision="bf16")


def test_seventy_billion_weights_are_refused_with_what_would_fit(model, monkeypatch):
    monkeypatch.setattr(memory, "memory_here", lambda: (80e9, "NVIDIA H100", True))
    with pytest.raises(InputProblem) as refused:
        memory.require_memory(model, parameters("none"), "instruct_finetune")
    said = str(refused.value)
    assert "training all of them takes at least 1.12 TB, and NVIDIA H100 has 80 GB" in said
    assert "adapter.type lora takes 140 GB" in said and "adapter.type qlora takes 38.5 GB" in said
    with pytest.raises(InputProblem, match="its base under lora takes at least 140 GB"):
        memory.require_memory(model, parameters("lora"), "instruct_finetune")
    memory.require_memory(model, parameters("qlora"), "instruct_finetune")
    monkeypatch.setattr(memory, "memory_here", lambda: (24e9, "this machine", False))
    with pytest.raises(InputProblem, match="this machine has 24 GB: take a smaller model"):
        memory.require_memory(model, parameters("qlora"), "instruct_finetune")


def test_devices_that_divide_the_weights_have_their_memory_together(model, monkeypatch):
    monkeypatch.setattr(memory, "memory_here", lambda: (80e9, "NVIDIA H100", True))
    divided = FineTuningParameters(precision="bf16", sharding="fsdp2", devices=8)
    assert "8 x NVIDIA H100 has 640 GB" in memory.problem(model, "it", divided, "instruct_finetune")
    memory.require_memory(model, FineTuningParameters(precision="bf16", sharding="fsdp2", devices=16), "reward_model")


def test_a_run_is_refused_before_its_first_stage_where_it_is_to_train_here(model, monkeypatch):
    monkeypatch.setattr(memory, "memory_here", lambda: (24e9, "this machine", False))
    stages = ["pretrain", "tokenize", "instruct_finetune", "classify_finetune"]
    values = {"classify_finetune": {"train": "head"}}
    [found] = parent_model._too_large(model, "../big", stages, values)
    assert found.startswith("pretrain.init: ../big has 70B parameters; training all of them takes at least 1.12 TB")
    elsewhere = {**values, "compute": {"instruct_finetune": {"kind": "ray"}}}
    assert parent_model._too_large(model, "../big", stages, elsewhere) == []
