"""Reading dvc.lock and receipts: what is vouched for is used, everything else is told."""

import hashlib
import json

import pytest
from ruamel.yaml import YAML

from registry.lineage import receipts


@pytest.fixture
def workspace(tmp_path):
    body = {
        "schema": 1,
        "stage": "evaluate@base",
        "component": {"name": "evaluate", "version": "1.0.0", "code_digest": "c"},
        "fingerprint": "f",
        "run": "first",
        "inputs": [
            {"name": "model", "path": "models/base", "type": "model", "role": "base", "digest": "m.dir", "size": 3}
        ],
        "outputs": [{"name": "report", "path": "reports/base", "type": "report", "role": "report"}],
        "metrics": [{"name": "accuracy", "value": 0.5}],
        "started": 1.0,
        "grown": "a key of a later version",
    }
    (tmp_path / "receipts").mkdir()
    write(tmp_path, body)
    return tmp_path, body


def write(root, body, *, lock=True) -> None:
    path = root / "receipts" / "evaluate-base.json"
    path.write_text(body if isinstance(body, str) else json.dumps(body))
    if lock:
        stage = {
            "cmd": "python -m components evaluate@base",
            "deps": [{"path": "models/base", "hash": "md5", "md5": "m.dir", "size": 3, "nfiles": 1}],
            "outs": [
                {"path": "reports/base", "hash": "md5", "md5": "r.dir", "size": 5, "nfiles": 2},
                {
                    "path": "receipts/evaluate-base.json",
                    "hash": "md5",
                    "md5": hashlib.md5(path.read_bytes()).hexdigest(),
                },
            ],
        }
        YAML().dump({"schema": "2.0", "stages": {"evaluate@base": stage}}, root / "dvc.lock")


def test_digests_come_from_the_lock(workspace):
    root, _ = workspace
    record = receipts.read(root)
    assert record.problems == ()
    (stage,) = record.stages
    assert (stage.stage, stage.receipt.run) == ("evaluate@base", "first")
    assert [(item.path, item.digest, item.files) for item in stage.inputs + stage.outputs] == [
        ("models/base", "m.dir", 1),
        ("reports/base", "r.dir", 2),
    ]


def test_a_receipt_newer_than_the_lock_is_not_believed(workspace):
    root, body = workspace
    write(root, {**body, "fingerprint": "newer"}, lock=False)
    record = receipts.read(root)
    assert record.stages == ()
    assert "newer than dvc.lock (evaluate@base is running or was interrupted); run `dvc repro`" in record.problems[0]


def test_every_mistake_of_a_receipt_is_told(workspace):
    root, body = workspace
    write(root, {**body, "component": {"name": "x"}, "started": "soon"})
    (problem,) = receipts.read(root).problems
    for told in (
        "receipts/evaluate-base.json",
        "component.version",
        "component.code_digest",
        "started",
        "dvc repro --force",
    ):
        assert told in problem


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 2}, "update Stemma"),
        (
            {"inputs": [{"name": "m", "path": "models/base", "type": "model", "role": "b", "digest": "other"}]},
            "changed while",
        ),
        (
            {"outputs": [{"name": "o", "path": "reports/base", "type": "report", "role": "r", "digest": "swapped"}]},
            "it was changed afterwards; make it again: dvc repro --force --single-item evaluate@base",
        ),
        ({"outputs": [{"name": "o", "path": "elsewhere", "type": "report", "role": "r"}]}, "list it among the outs"),
        ("{", "not a receipt"),
    ],
)
def test_what_does_not_fit(workspace, change, told):
    root, body = workspace
    write(root, change if isinstance(change, str) else {**body, **change})
    assert told in receipts.read(root).problems[0]


def test_figures_that_are_no_numbers_are_told(workspace):
    root, body = workspace
    lost = {"name": "loss", "value": float("nan")}
    kept = {
        "name": "accuracy",
        "value": 0.5,
        "stderr": float("inf"),
        "baselines": {"rules": float("inf"), "majority": 0.1},
    }
    write(root, {**body, "metrics": [lost, kept]})
    record = receipts.read(root)
    (metric,) = record.stages[0].receipt.metrics
    assert (metric.name, metric.stderr, metric.baselines) == ("accuracy", None, {"majority": 0.1})
    assert "loss is nan, so it is not recorded" in record.problems[0]


def test_missing_and_broken_files(workspace):
    root, _ = workspace
    (root / "receipts" / "evaluate-base.json").unlink()
    assert "dvc checkout" in receipts.read(root).problems[0]
    (root / "dvc.lock").write_text("stages: [")
    assert "dvc.lock: not readable" in receipts.read(root).problems[0]
    (root / "dvc.lock").unlink()
    assert receipts.read(root) == receipts.WorkspaceRecord((), (), "", ())


def test_raw_data_under_dvc(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "raw.dvc").write_text(
        "outs:\n- md5: abc.dir\n  size: 3\n  nfiles: 1\n  hash: md5\n  path: raw\n"
    )
    (item,) = receipts.read(tmp_path).raw
    assert (item.path, item.type, item.digest, item.size) == ("data/raw", "raw", "abc.dir", 3)
