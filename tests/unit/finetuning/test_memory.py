"""A model that cannot be trained here is refused by the headers of its files."""

from __future__ import annotations

import json
import struct

import pytest

from components.finetuning import memory
from components.finetuning.parameters import FineTuningParameters
from core.errors import InputProblem


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
    monkeypatch.setattr(memory, "_memory", lambda: (80e9, "NVIDIA H100"))
    with pytest.raises(InputProblem) as refused:
        memory.require_memory(model, parameters("none"), "instruct_finetune")
    said = str(refused.value)
    assert "training all of them takes at least 1.12 TB, and NVIDIA H100 has 80 GB" in said
    assert "adapter.type lora takes 140 GB" in said and "adapter.type qlora takes 38.5 GB" in said
    with pytest.raises(InputProblem, match="its base under lora takes at least 140 GB"):
        memory.require_memory(model, parameters("lora"), "instruct_finetune")
    memory.require_memory(model, parameters("qlora"), "instruct_finetune")
    monkeypatch.setattr(memory, "_memory", lambda: (24e9, "this machine"))
    with pytest.raises(InputProblem, match="this machine has 24 GB: take a smaller model"):
        memory.require_memory(model, parameters("qlora"), "instruct_finetune")
