"""Which stage makes which metric."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import components
from flows.sweeps import metrics
from flows.sweeps.metrics import TrialMetric

ROOT = Path(__file__).resolve().parents[3]
STAGES = ["curate", "tokenize", "pretrain", "instruct_finetune", "evaluate@base"]


def test_the_table_has_what_the_components_measure():
    """Each name stands in the code of its stage, or of what it shares: one that is renamed is renamed here too."""
    shared = [path.read_text() for path in (ROOT / "components/finetuning").glob("*.py")]
    for stage, known in metrics.KNOWN.items():
        assert stage in components.STAGES
        code = "\n".join([*(path.read_text() for path in (ROOT / "components" / stage).glob("*.py")), *shared])
        for name in known:
            assert f'"{name.removeprefix("development_")}"' in code, f"{stage}: {name}"
    for stage, curves in metrics.CURVES.items():
        code = "\n".join(path.read_text() for path in (ROOT / "components" / stage).glob("*.py"))
        assert all(name in metrics.KNOWN[stage] and f'"{name}": ' in code for name in curves)


def test_a_metric_is_found_by_its_name_its_stage_or_the_last_stage_wanted(tmp_path):
    found = metrics.find(tmp_path, "validation_bits_per_byte", STAGES, [])
    assert found == TrialMetric("pretrain", "validation_bits_per_byte", False, True)
    assert metrics.find(tmp_path, "evaluate@base:accuracy", STAGES, []).stage == "evaluate@base"
    assert metrics.find(tmp_path, "accuracy", STAGES, ["evaluate@base"]).stage == "evaluate@base"
    with pytest.raises(ValueError, match="made by instruct_finetune, evaluate@base; write one of them as STAGE:"):
        metrics.find(tmp_path, "accuracy", STAGES, [])


def test_an_unknown_metric_is_refused_with_what_there_is(tmp_path):
    with pytest.raises(ValueError, match="did you mean validation_bits_per_byte"):
        metrics.find(tmp_path, "validation_bits_per_bite", STAGES, [])
    with pytest.raises(ValueError, match="no stage up to tokenize makes this metric"):
        metrics.find(tmp_path, "validation_loss", STAGES[:2], [])
    with pytest.raises(ValueError, match="the sweep runs no stage 'reward_model'"):
        metrics.find(tmp_path, "reward_model:accuracy", STAGES, [])


def test_what_a_receipt_has_is_known_too(tmp_path):
    (tmp_path / "receipts").mkdir()
    measured = [{"name": "lm_eval_x_acc", "higher_is_better": True}, {"name": "vocabulary", "higher_is_better": None}]
    (tmp_path / "receipts/evaluate-base.json").write_text(json.dumps({"metrics": measured}))
    assert metrics.find(tmp_path, "lm_eval_x_acc", STAGES, []).higher_is_better
    with pytest.raises(ValueError, match="neither higher nor lower values of it are better"):
        metrics.find(tmp_path, "vocabulary", STAGES, [])
