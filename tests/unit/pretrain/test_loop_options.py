"""The loop's options together, through the stage and its faults."""

from __future__ import annotations

import csv
import itertools
import json

import pytest

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


def test_bfloat16_when_asked_for_is_told_in_the_report(workspace):
    # In a process of its own: accelerate's precision is the whole process's.
    tiny.finish(tiny.start(workspace, precision="bf16", steps=3, sample_prompts=[]))
    told = json.loads((workspace / "reports/pretrain/report.json").read_text())["precision"]
    assert told.startswith("bf16 (set")


def test_a_model_that_cannot_mask_documents_is_refused(workspace):
    bloom = {"model_type": "bloom", "intermediate_size": None}
    with pytest.raises(InputProblem, match=r"pretrain\.mask_documents: attention of bloom"):
        tiny.pretrain(workspace, mask_documents=True, architecture=SMALL | bloom)
