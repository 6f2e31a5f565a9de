"""What DVC, MLflow and the receipt say of the same stage agrees, whatever the tracking server does meanwhile."""

import json
import shutil
import socket
import subprocess
import sys
import threading

import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from components.harness.tracking import replay_pending, shown_run
from tests.counter import configure
from tests.workspace import Workspace, wait_until


def _receipt(workspace):
    return json.loads((workspace.root / "receipts" / "counter.json").read_text())


def _client(workspace) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{workspace.home / 'mlflow.db'}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _points(workspace) -> int:
    spools = (workspace.home / "scratch" / "counter").glob("*/tracking/events.jsonl")
    return sum(spool.read_text().count('"point"') for spool in spools)


def _steps(client: MlflowClient, run_id: str) -> list[int]:
    """The curve's steps; the final metric is one more point at the last of them.

    MLflow keeps one of two points of equal step and value that fall into the same millisecond.
    """
    return sorted({point.step for point in client.get_metric_history(run_id, "total")})


def _known_to_mlflow(workspace) -> bool:
    """Whether MLflow knows the run."""
    cursors = (workspace.home / "scratch" / "counter").glob("*/tracking/cursor.json")
    return any(json.loads(cursor.read_text())["run_id"] for cursor in cursors)


@pytest.fixture(scope="module")
def made(_template, tmp_path_factory) -> Workspace:
    """A workspace after `dvc repro`."""
    workspace = _template.copy_to(tmp_path_factory.mktemp("made") / "workspace")
    configure(workspace, steps=30)
    workspace.commit()
    workspace.dvc("repro")
    return workspace


def test_dvc_repro_is_tracked_with_the_digests_of_dvc_lock(made):
    workspace = made
    receipt = _receipt(workspace)
    run = _client(workspace).get_run(receipt["mlflow"]["run_id"])
    locked = YAML(typ="safe").load((workspace.root / "dvc.lock").read_text())["stages"]["counter"]
    digests = {item["path"]: item["md5"] for item in locked["deps"] if not item["path"].startswith("components")}
    assert {i.dataset.name: i.dataset.digest for i in run.inputs.dataset_inputs} == digests
    assert {item["path"]: item["digest"] for item in receipt["inputs"]} == digests
    written = {item["path"]: (item["md5"], item["size"]) for item in locked["outs"]}
    assert all(written[item["path"]] == (item["digest"], item["size"]) for item in receipt["outputs"])
    assert run.inputs.dataset_inputs[0].tags[0].value == "corpus"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "7", "steps": "30", "pause": "0.0", "fail": "", "processes": "1", "awaits": ""}
    assert run.data.tags["mlflow.source.git.commit"] == workspace.git("rev-parse", "HEAD")
    assert run.data.tags["stemma.fingerprint"] == receipt["fingerprint"]
    assert run.data.tags["stemma.component_version"] == "1.2.3"
    assert run.data.metrics["total.baseline.zero"] == 0.0
    assert run.data.metrics["total"] == json.loads((workspace.root / "metrics" / "counter.json").read_text())["total"]
    parent = _client(workspace).get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.data.tags["stemma.pipeline_run"] == receipt["run"] and receipt["run"].startswith("dvc-")
    assert parent.info.run_name == shown_run(receipt["run"]) and run.info.run_name == "counter steps=30"
    kind = _client(workspace).get_experiment(run.info.experiment_id).tags["mlflow.experimentKind"]
    assert kind == "custom_model_development"
    assert (parent.info.start_time, parent.info.end_time) == (run.info.start_time, run.info.end_time)
    assert receipt["non_default"] == {"steps": 30}
    assert receipt["environment"]["counted"] == "by ones" and receipt["environment"]["python"]
    assert _steps(_client(workspace), run.info.run_id) == [*range(1, 31)]


def test_what_the_run_cache_has_names_the_run_that_made_it_and_by_force_it_is_made_anew(made, tmp_path):
    workspace = made.copy_to(tmp_path / "workspace")

    def repro(*options):
        return workspace.run(sys.executable, "-m", "dvc", "repro", *options)

    first = _receipt(workspace)
    configure(workspace, steps=21)
    repro()
    assert _receipt(workspace)["fingerprint"] != first["fingerprint"]
    configure(workspace, steps=30)
    done = repro()
    assert "is cached" in done.stdout + done.stderr
    assert _receipt(workspace) == first
    repro("--force")
    forced = _receipt(workspace)
    assert forced["fingerprint"] == first["fingerprint"]
    assert forced["mlflow"]["run_id"] != first["mlflow"]["run_id"]
    # Where DVC has forgotten it, finished work is published again as the execution that it was: it may be recorded.
    configure(workspace, steps=21)
    repro()
    shutil.rmtree(workspace.root / ".dvc" / "cache" / "runs")
    configure(workspace, steps=30)
    done = repro()
    assert "is cached" not in done.stdout + done.stderr
    assert _receipt(workspace) == forced


@pytest.mark.parametrize("hung", [False, True], ids=["down", "hung"])
def test_no_point_is_lost_when_the_server_does_not_answer(workspace, monkeypatch, hung):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    port = _free_port()
    if hung:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=lambda: [listener.accept() for _ in range(100)], daemon=True).start()
    uri = f"http://127.0.0.1:{port}"
    done = workspace.stage("counter", MLFLOW_TRACKING_URI=uri, MLFLOW_HTTP_REQUEST_TIMEOUT="1", timeout=120)
    assert "Nothing is lost" in done.stderr
    assert _receipt(workspace)["mlflow"]["run_id"] is None
    if hung:
        assert replay_pending(workspace.home) == (1, [])
    else:
        assert workspace.stage("replay").stdout == "1 event log sent to MLflow\n"
    client = _client(workspace)
    fingerprint = _receipt(workspace)["fingerprint"]
    experiment = client.get_experiment_by_name("stemma").experiment_id
    (run,) = client.search_runs([experiment], f"tags.`stemma.fingerprint` = '{fingerprint}'")
    assert run.info.status == "FINISHED"
    assert _steps(client, run.info.run_id) == [*range(1, 21)]
    assert "report.json" in [item.path for item in client.list_artifacts(run.info.run_id)]


@pytest.mark.nightly  # servers that do not answer are below
def test_a_server_that_comes_back_in_mid_run_gets_every_point(workspace, tmp_path):
    back = tmp_path / "back"
    configure(workspace, steps=40, awaits=str(back))
    port = _free_port()
    uri = f"http://127.0.0.1:{port}"
    stage = workspace.start(sys.executable, "-m", "components", "counter", MLFLOW_TRACKING_URI=uri)
    wait_until(lambda: _points(workspace) == 20, what="half of the points")
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}",
         "--artifacts-destination", str(tmp_path / "artifacts"), "--port", str(port), "--workers", "1"],
        env={**workspace.environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: _known_to_mlflow(workspace), 120, "a server that is back")
        back.touch()
        assert stage.wait(120) == 0
        receipt = _receipt(workspace)
        client = MlflowClient(tracking_uri=uri)
        wait_until(lambda: client.get_run(receipt["mlflow"]["run_id"]).info.status == "FINISHED")
        assert _steps(client, receipt["mlflow"]["run_id"]) == [*range(1, 41)]
    finally:
        subprocess.run(["pkill", "-KILL", "-s", str(server.pid)], check=False)
        server.wait()
