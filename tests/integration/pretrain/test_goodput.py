"""The bench of interruptions, short: the stage's real processes are killed, and the weights are the same bytes."""

from __future__ import annotations

import pytest

from bench import faults, goodput
from tests.unit.pretrain import tiny

PARAMETERS = {
    "architecture": {
        "hidden_size": 32,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "extra": {"attention_dropout": 0.1},
    },
    "seq_length": 32,
    "steps": 400,
    "checkpoint_every": 10,
    "evaluate_every": 200,
}


@pytest.mark.nightly
def test_a_run_that_is_interrupted_again_and_again_ends_with_the_same_bytes(tmp_path, monkeypatch):
    # One tracking database for both runs: MLflow takes long to make one.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    # The two that do more than send a signal, by this seed in an order in which there is a checkpoint to damage.
    kinds = (faults.POWER_CUT, faults.DISK_FULL)
    data = tiny.tokens(tmp_path / "data")
    result = goodput.measure(tmp_path, data, PARAMETERS, interval=0.3, count=2, seed=9, kinds=kinds)
    assert result.identical
    assert sorted(result.faults) == sorted(fault.name for fault in kinds)
    for problem in ("is damaged", "no disk space"):
        assert any(problem in warning for warning in result.warnings)
    noisy = result.disturbed
    parts = (noisy.productive, noisy.lost, noisy.blocked, noisy.starting, noisy.stopping, noisy.finishing)
    assert all(part >= 0 for part in parts) and sum(parts) == pytest.approx(noisy.wall)
    assert 0 < noisy.effective < result.undisturbed.effective
    assert noisy.effective_at(goodput.LLAMA3_SECONDS) > noisy.effective
