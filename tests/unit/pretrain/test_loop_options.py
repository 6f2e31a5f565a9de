"""The loop's options together, through the stage and its faults."""

from __future__ import annotations

import csv
import itertools
import json

import pytest
import torch
from safetensors.torch import load_file

from components import training
from core.errors import InputProblem
from tests.unit.pretrain import tiny

ALL = {
    "schedule": "wsd",
    "batch_ramp_start": 2,
    "batch_ramp_tokens": 4000,
    "per_device_batch_size": 2,
    "gradient_accumulation_steps": 3,
    "z_loss": 1e-4,
    "mask_documents": True,
    "gradient_checkpointing": True,
    "steps": 60,
}
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.slow
def test_all_options_killed_amid_and_run_again_end_with_the_same_bytes(made, tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        tiny.beside(tmp_path / name, made)
    tiny.finish(tiny.start(tmp_path / "whole", **ALL))
    tiny.kill_amid(tmp_path / "killed", tiny.start(tmp_path / "killed", **ALL), 12, ALL["steps"])
    tiny.finish(tiny.start(tmp_path / "killed", **ALL))
    assert tiny.weights(tmp_path / "killed") == tiny.weights(tmp_path / "whole")
    with open(tmp_path / "whole/reports/pretrain/curve.csv") as file:
        points = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    tokens = [point["tokens"] for point in points]
    rises = [later - earlier for earlier, later in itertools.pairwise(tokens)]
    assert rises[0] < rises[-1] == 5 * 6 * 32, "the batch rose to its full size"
    assert points[-1]["loss"] < points[0]["loss"] - 0.5
    assert points[-1]["learning_rate"] == pytest.approx(2e-3)
    assert points[-1]["learning_rate/adamw"] == pytest.approx(3e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "units", "reported"),
    [
        ("auto", "AMX", "bf16 (detected: AMX)"),
        ("auto", None, "fp32 (detected: no bfloat16 units in the processor)"),
        ("bf16", "AMX", "bf16 (set)"),
        ("fp32", "AMX", "fp32 (set)"),
    ],
)
def test_each_precision_trains_with_its_products_and_is_reported(workspace, monkeypatch, precision, units, reported):
    seen = set()
    original = torch.nn.functional.silu
    monkeypatch.setattr(training, "bf16_units", lambda: units)
    monkeypatch.setattr(torch.nn.functional, "silu", lambda x, *rest: seen.add(x.dtype) or original(x, *rest))
    context = tiny.pretrain(workspace, precision=precision, steps=2, sample_prompts=[])
    assert (torch.bfloat16 in seen) == reported.startswith("bf16"), "autocast of the products"
    assert json.loads((workspace / "reports/pretrain/report.json").read_text())["precision"] == reported
    assert context.environment["precision"] == reported[:4]
    weights = load_file(workspace / "models/base/model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_a_model_that_cannot_mask_documents_is_refused(workspace):
    bloom = {"model_type": "bloom", "intermediate_size": None}
    with pytest.raises(InputProblem, match=r"pretrain\.mask_documents: attention of bloom"):
        tiny.pretrain(workspace, mask_documents=True, architecture=SMALL | bloom)
