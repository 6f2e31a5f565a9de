"""Which precision is chosen, by what the device has."""

from __future__ import annotations

import pytest
import torch

from components import training
from components.training import bf16_units, choose_precision


def test_detection_agrees_with_the_processors_flags():
    if torch.cuda.is_available():
        pytest.skip("the GPU decides")
    with open("/proc/cpuinfo") as file:
        flags = next(line for line in file if line.startswith("flags")).split()
    assert (bf16_units() is not None) == bool({"avx512_bf16", "amx_bf16"} & set(flags))


@pytest.mark.parametrize(
    ("wanted", "units", "name", "reason"),
    [
        ("auto", None, "fp32", "detected: no bfloat16 units"),
        ("auto", "AMX", "bf16", "detected: AMX"),
        ("fp32", "AMX", "fp32", "(set)"),
        ("bf16", "AMX", "bf16", "(set)"),
        ("bf16", None, "bf16", "emulates them slowly"),
    ],
)
def test_what_is_set_wins_over_what_is_detected(wanted, units, name, reason, monkeypatch):
    monkeypatch.setattr(training, "bf16_units", lambda: units)
    choice = choose_precision(wanted)
    assert choice.name == name and reason in str(choice)
    assert choice.mixed == ("bf16" if name == "bf16" else "no")
