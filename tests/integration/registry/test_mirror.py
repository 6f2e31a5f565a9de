"""MLflow shows what the registry says, now or as soon as it can be reached."""

from __future__ import annotations

import socket
import time

import pytest

from registry.db.database import open as open_registry
from registry.db.references import resolve
from registry.lineage.sync import sync
from registry.lineage.trace import trace
from registry.promotion.promote import promote

DEAD = "http://127.0.0.1:1"


@pytest.fixture
def client(project):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{project.root}/.stemma/mlflow.db")


def parent(client, run: str):
    (experiment,) = [found for found in client.search_experiments() if found.name == "stemma"]
    (found,) = client.search_runs([experiment.experiment_id], f"tags.`stemma.pipeline_run` = '{run}'")
    return found


def test_versions_aliases_and_the_parent_run(project, client):
    sync(project.workspace, run="first")
    promote(project.workspace, "base", "champion", "the first", "Ada")
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        version = resolve(session, "base")
        digest, run_id = version.artifact.digest, version.execution.mlflow_run_id
    shown = client.get_model_version_by_alias("base", "champion")
    assert (shown.tags["stemma.digest"], shown.tags["stemma.version"], shown.run_id) == (digest, "1", run_id)
    data = parent(client, "first").data
    assert (
        data.params["pretrain.quality"] == "0.8" and data.params["curate.keep"] == "10" and data.params["seed"] == "1"
    )
    assert data.metrics == {
        "curate.documents_kept": 10,
        "pretrain.loss": pytest.approx(0.2),
        "evaluate-base.accuracy": 0.8,
    }


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)  # what MLflow shows does not hang on the database
def test_two_runs_have_the_same_rows(project, client):
    sync(project.workspace, run="first")
    project.set("quality: 0.8", "quality: 0.9")
    project.repro("second", tracked=("pretrain", "evaluate@base"))
    sync(project.workspace, run="second")
    first, second = parent(client, "first").data, parent(client, "second").data
    assert first.params.keys() == second.params.keys()
    assert first.metrics.keys() == second.metrics.keys()
    assert {name for name in first.params if first.params[name] != second.params[name]} == {"pretrain.quality"}
    assert [found.version for found in client.search_model_versions("name = 'base'")] in ([2, 1], ["2", "1"])


def test_server_down_then_back(project, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DEAD)
    report = sync(project.workspace, run="first")
    assert report.versions == ["base:1"]
    assert report.mirror.error and "model version base:1" in report.mirror.pending
    outcome = promote(project.workspace, "base", "champion", "the first", "Ada")
    assert outcome.action == "promote" and "alias base@champion" in outcome.mirror.pending
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        assert trace(session, "base@champion").aliases == ["champion"]

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    repaired = sync(project.workspace)
    assert (repaired.mirror.error, repaired.mirror.pending) == (None, [])
    assert client.get_model_version_by_alias("base", "champion").tags["stemma.version"] == "1"
    assert sync(project.workspace).mirror.updated == []


@pytest.mark.parametrize("registry_url", ["sqlite"], indirect=True)
def test_hung_server_is_not_waited_for(project, monkeypatch):
    with socket.socket() as hung:
        hung.bind(("127.0.0.1", 0))
        hung.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{hung.getsockname()[1]}")
        started = time.monotonic()
        report = sync(project.workspace, run="first")
    assert report.mirror.error and report.versions == ["base:1"]
    assert time.monotonic() - started < 30


def test_runs_that_mlflow_learns_of_late(project, client):
    """The server was down while the stage ran, so its receipt names no MLflow run; the harness tells it afterwards."""
    project.set("quality: 0.8", "quality: 0.9")
    project.dvc("repro", "-q", "pretrain", TEST_RUN="second")
    report = sync(project.workspace, run="second")
    assert "MLflow run of pretrain" in report.mirror.pending
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        fingerprint = resolve(session, "base").execution.fingerprint
    experiment = client.get_experiment_by_name("stemma").experiment_id
    told = client.create_run(experiment, tags={"stemma.fingerprint": fingerprint, "stemma.stage": "pretrain"})
    client.create_run(experiment, tags={"stemma.pipeline_run": "second"})
    assert sync(project.workspace).mirror.pending == []
    with open_registry(project.workspace.registry_url) as opened, opened.read() as session:
        assert resolve(session, "base").execution.mlflow_run_id == told.info.run_id
    assert parent(client, "second").data.params["pretrain.quality"] == "0.9"
