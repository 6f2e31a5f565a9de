"""A training on the two nodes of a real Ray cluster: what one process makes, whatever is killed in the middle."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from components import compute
from components.compute import Compute
from components.pretrain import component
from components.pretrain.parameters import PretrainParameters
from core import parameters_file
from tests.unit.pretrain import tiny
from tests.workspace import Workspace, make_workspace, wait_until

STEPS = 24
# Without dropout, of which each process draws its own.
CHANGES = {
    "architecture": tiny.PARAMETERS["architecture"] | {"extra": {}}, "steps": STEPS, "evaluate_every": STEPS,
    "learning_rate": 0.003,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return tiny.tokens(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def template(tmp_path_factory, made, cluster) -> Workspace:
    """A workspace in which pretrain takes two nodes of the cluster."""
    workspace = make_workspace(tmp_path_factory.mktemp("template") / "workspace")
    for part in ("data/tokens", "models/tokenizer"):
        shutil.copytree(made / part, workspace.root / part)
    asked = tiny.PARAMETERS | CHANGES | {"nodes": 2, "per_device_batch_size": 3}
    sections = {f"pretrain.{name}": value for name, value in asked.items()}
    where = {"compute.pretrain": {"kind": "ray", "address": cluster.address}}
    # Once for all: MLflow's migrations of a new database take as long as such a stage.
    workspace.home.mkdir()
    MlflowClient(f"sqlite:///{workspace.home / 'mlflow.db'}").search_experiments()
    parameters_file.write(workspace.root / "params.yaml", {**sections, **where})
    return workspace


@pytest.fixture(scope="module")
def undisturbed(template, tmp_path_factory) -> Workspace:
    workspace = template.copy_to(tmp_path_factory.mktemp("undisturbed") / "workspace")
    workspace.stage("pretrain")
    return workspace


def losses(root: Path) -> np.ndarray:
    with open(root / "reports/pretrain/curve.csv") as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


def receipt(workspace: Workspace) -> dict:
    return json.loads((workspace.root / "receipts/pretrain.json").read_text())


def test_two_nodes_train_as_one_process_does(undisturbed, made, tmp_path):
    alone = tiny.beside(tmp_path, made)
    tiny.finish(tiny.start(alone, **CHANGES))
    np.testing.assert_allclose(losses(undisturbed.root), losses(alone), rtol=2e-4)
    assert receipt(undisturbed)["processes"] == 2 and len(receipt(undisturbed)["attempts"]) == 1
    points = [event for event in events(undisturbed) if event["kind"] == "point" and "loss" in event["metrics"]]
    assert [event["step"] for event in points] == [*range(5, STEPS, 5), STEPS], "the curve came here by the event log"


def test_a_killed_node_is_replaced_and_the_training_ends_with_the_same_bytes(undisturbed, template, cluster, tmp_path):
    workspace = template.copy_to(tmp_path / "workspace")
    stage = workspace.start(sys.executable, "-m", "components", "pretrain")
    wait_until(lambda: list(workspace.home.glob("scratch/pretrain/*/checkpoints/step-*8")), 120, "a checkpoint")
    cluster.kill(1)
    cluster.join()
    assert stage.wait(240) == 0, (tmp_path / "workspace.python.log").read_text()
    assert tiny.weights(workspace.root) == tiny.weights(undisturbed.root)
    (warning,) = receipt(workspace)["warnings"]
    assert "was lost while pretrain ran on it; started again from its checkpoint" in warning
    steps = [event["step"] for event in events(workspace) if event["kind"] == "point" and "loss" in event["metrics"]]
    assert len(steps) < 2 * len(set(steps)), "it went on from a checkpoint"


def events(workspace: Workspace) -> list[dict]:
    (log,) = workspace.home.glob("scratch/pretrain/*/tracking/events.jsonl")
    return [json.loads(line) for line in log.read_text().splitlines()]


def problems(address: str, **changes) -> list[str]:
    parameters = PretrainParameters(**({"devices": 1, "nodes": 2} | changes))
    return compute.problems(component, Compute(kind="ray", address=address), parameters, {})


def test_more_nodes_than_there_are_and_a_cluster_that_is_not_there_are_named(cluster):
    assert problems(cluster.address) == []
    (problem,) = problems(cluster.address, nodes=5)
    assert problem.startswith("params.yaml: compute.pretrain: pretrain needs 5 nodes with 1 CPU each")
    (problem,) = problems("127.0.0.1:1")
    assert problem.startswith("params.yaml: compute.pretrain: no Ray cluster answers at 127.0.0.1:1 ")
