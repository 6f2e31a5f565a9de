"""Two processes by gloo: the same training as one to rounding, and exact under faults in its own right."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest

import components
from components.pretrain.parameters import PretrainParameters
from tests.unit.pretrain import tiny

pytestmark = pytest.mark.slow
# Without dropout, of which each process draws its own; long enough to be interrupted on a busy machine.
CHANGES = {"architecture": tiny.PARAMETERS["architecture"] | {"extra": {}}, "steps": 120}


def losses(workspace, name="curve.csv"):
    with open(workspace / "reports/pretrain" / name) as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


@pytest.fixture(scope="module")
def pair(made, tmp_path_factory):
    folder = tiny.beside(tmp_path_factory.mktemp("pair"), made)
    tiny.finish(tiny.start(folder, processes=2, **CHANGES))
    return folder


def test_two_processes_train_as_one_does(pair, workspace):
    tiny.finish(tiny.start(workspace, **CHANGES))
    np.testing.assert_allclose(losses(pair), losses(workspace), rtol=2e-4)
    np.testing.assert_allclose(losses(pair, "validation.csv"), losses(workspace, "validation.csv"), rtol=2e-4)


def test_two_processes_killed_and_run_again_end_with_the_same_bytes(pair, workspace):
    tiny.kill_amid(workspace, tiny.start(workspace, processes=2, **CHANGES), 20, CHANGES["steps"])
    tiny.finish(tiny.start(workspace, processes=2, **CHANGES))
    assert tiny.weights(workspace) == tiny.weights(pair)
    for path in (pair / "reports/pretrain").iterdir():
        assert (workspace / "reports/pretrain" / path.name).read_bytes() == path.read_bytes(), path.name


def test_another_number_of_processes_is_refused(pair, workspace):
    shutil.copytree(pair / "scratch", workspace / "scratch")
    process = tiny.start(workspace, **CHANGES)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "was made by 2 processes and there are 1 now" in output


def test_fewer_processes_and_more_again_go_on_where_they_may(pair, workspace):
    """Killed twice: two processes, then one, then two."""
    asked = CHANGES | {"devices": 2, "per_device_batch_size": 3, "elastic": True}
    for processes, step in ((2, 20), (1, 60)):
        tiny.kill_amid(workspace, tiny.start(workspace, processes, **asked), step, CHANGES["steps"])
    tiny.finish(tiny.start(workspace, 2, **asked))
    for name in ("curve.csv", "validation.csv"):
        np.testing.assert_allclose(losses(workspace, name), losses(pair, name), rtol=2e-4)
    last = max((workspace / "scratch").rglob("training.json"))
    (first, *steps), numbers = zip(*json.loads(last.read_text())["progress"]["processes"], strict=True)
    assert numbers == (2, 1, 2) and first == 0 < steps[0] < steps[1] < CHANGES["steps"]
    warnings = " ".join(event["message"] for event in tiny.events(workspace, "warning"))
    assert re.findall(r"was made by (\d) processes and (\d) go on", warnings) == [("2", "1"), ("1", "2")]


def test_two_machines_meet_and_train_together(workspace):
    """Two launchers with one device each, as on two machines, over the loopback device."""
    component = components.load("pretrain")
    parameters = PretrainParameters(
        **(tiny.PARAMETERS | {"nodes": 2, "devices": 1, "per_device_batch_size": 3, "steps": 10})
    )
    outputs = {artifact.name: str(workspace / artifact.path) for artifact in component.outputs}
    for folder in (*outputs.values(), workspace / "scratch"):
        os.makedirs(folder, exist_ok=True)
    order = {
        "component": "pretrain",
        "instance": None,
        "parameters": parameters.model_dump(mode="json"),
        "seed": 1337,
        "inputs": {artifact.name: str(workspace / artifact.path) for artifact in component.inputs},
        "outputs": outputs,
        "scratch": str(workspace / "scratch"),
        "events": str(workspace / "pretrain.events.jsonl"),
        "cache": str(workspace / "cache"),
        "outcome": str(workspace / "outcome.json"),
        "nodes": 2,
        "processes": 2,
        "supervisor": os.getpid(),
    }
    (workspace / "order.json").write_text(json.dumps(order))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "STEMMA_MAIN_ADDRESS": address}
    machines = [
        subprocess.Popen(
            [sys.executable, "-m", "components.harness.worker", str(workspace / "order.json")],
            cwd=tiny.ROOT,
            env=environment | {"STEMMA_NODE_RANK": str(rank)},
        )
        for rank in (0, 1)
    ]
    assert [machine.wait(timeout=240) for machine in machines] == [0, 0]
    outcome = json.loads((workspace / "outcome.json").read_text())
    assert outcome["state"] == "complete" and outcome["warnings"] == []
    assert tiny.weights(workspace)
