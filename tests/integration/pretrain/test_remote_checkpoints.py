"""A training whose machine is lost, and lost again, ends on a third with the bytes of one that was never disturbed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time

import boto3
import pytest

from bench.goodput import MeasuredWorkspace
from core import keys
from core.workspace import Workspace
from tests.s3 import credentials, storage  # noqa: F401  (fixtures)
from tests.unit.pretrain import tiny
from tests.workspace import wait_until

PARAMETERS = {**tiny.PARAMETERS, "steps": 160, "evaluate_every": 160, "checkpoint_every": 10, "log_every": 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Tokens, and one signing key for all machines."""
    folder = tiny.tokens(tmp_path_factory.mktemp("made"))
    home = folder / "home"
    shutil.copytree(MeasuredWorkspace(folder / "git", folder, PARAMETERS).root / ".git", folder / ".git")
    keys.signing_key(Workspace(folder, home))
    return folder


def _saved(client) -> list[int]:
    """Steps of the checkpoints in the store."""
    found = client.list_objects_v2(Bucket="spot").get("Contents", [])
    names = [re.search(r"/step-(\d{10})-[0-9a-f]{16}\.json$", each["Key"]) for each in found]
    return sorted(int(name[1]) for name in names if name)


def _steps(workspace) -> list[int]:
    return [event["step"] for event in workspace.events() if event["kind"] == "point" and "loss" in event["metrics"]]


@pytest.mark.nightly  # several trainings; tests/unit/harness has the parts
def test_lost_machines_cost_steps_and_change_no_byte(made, tmp_path, credentials, monkeypatch):  # noqa: F811
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")  # it takes long to make one
    monkeypatch.setenv("STEMMA_SIGNING_KEY", str(keys.key_path(Workspace(made, made / "home"))))
    client = boto3.client("s3")
    client.create_bucket(Bucket="spot")
    parameters = {**PARAMETERS, "checkpoints": "s3://spot/here"}
    undisturbed = tiny.beside(tmp_path / "undisturbed", made)
    tiny.pretrain(undisturbed, **PARAMETERS)

    first = MeasuredWorkspace(tmp_path / "first", made, parameters)
    stage = first.start()
    wait_until(lambda: len(_saved(client)) == 2, what="two checkpoints in the store")
    for process in [*stage.children(recursive=True), stage]:
        process.kill()
    shutil.rmtree(first.root)
    lost_at = max(_saved(client))

    # A machine of which the cloud takes back the second: its last step is saved and there, and it says: go on.
    second = MeasuredWorkspace(tmp_path / "second", made, parameters)
    stage = second.start()
    wait_until(lambda: len(_steps(second)) > 5, what="some steps")
    stage.send_signal(signal.SIGTERM)
    started = time.monotonic()
    assert stage.wait(60) == os.EX_TEMPFAIL, (second.root / "log.txt").read_text()
    assert time.monotonic() - started < 30
    assert min(_steps(second)) == lost_at + 1
    assert max(_saved(client)) == max(_steps(second))
    shutil.rmtree(second.root)

    third = MeasuredWorkspace(tmp_path / "third", made, parameters)
    stage = third.start()
    assert stage.wait(240) == 0, (third.root / "log.txt").read_text()
    assert min(_steps(third)) > lost_at + 5
    weights = (third.root / "models/base/model.safetensors").read_bytes()
    assert weights == tiny.weights(undisturbed)
    assert _saved(client) == [], "what is published needs no checkpoint"


def test_a_store_that_cannot_be_used_is_said_before_any_work(made, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    workspace = MeasuredWorkspace(tmp_path / "w", made, {**PARAMETERS, "checkpoints": "s3://spot/here"})
    assert workspace.start().wait(60) == 2
    log = (workspace.root / "log.txt").read_text()
    assert "params.yaml: pretrain.checkpoints: s3://spot/here cannot be used" in log and "nothing was changed" in log
    assert workspace.scratch is None
