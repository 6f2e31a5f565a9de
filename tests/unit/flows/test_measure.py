"""What a worktree needs so that a stage can measure an earlier version in it."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows.pipeline.measure import _raw_data_of

ROOT = Path(__file__).resolve().parents[3]
SUITES = {"some": {"tasks": {"gsm8k": "data/raw/gsm8k"}}}


@pytest.mark.parametrize(("suites", "read"), [({}, []), (SUITES, ["data/raw"])])
def test_raw_data_is_brought_where_benchmarks_are_read_of_it_and_else_stands_empty(tmp_path, suites, read):
    yaml = YAML()
    values = yaml.load(ROOT / "params.yaml")
    values["evaluate"]["suites"] = suites
    yaml.dump(values, tmp_path / "params.yaml")
    lock = {"stages": {"evaluate@base": {"deps": [{"path": "data/raw"}]}, "evaluate@old": {"deps": []}}}
    yaml.dump(lock, tmp_path / "dvc.lock")
    assert _raw_data_of(tmp_path, "evaluate@old") == [] and not (tmp_path / "data").exists()
    assert _raw_data_of(tmp_path, "evaluate@base") == [] and (tmp_path / "data/raw").is_dir()
    (tmp_path / "data/raw.dvc").write_text("outs: []\n")
    assert _raw_data_of(tmp_path, "evaluate@base") == read
