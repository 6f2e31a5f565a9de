"""A training as a TrainJob. There is no cluster here: what stands in for Kubernetes' API keeps to Trainer's schema, and
starts the command of each pod as a process with the variables that Trainer gives it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema
import pytest
import yaml

from core import parameters_file
from core.network import free_port
from tests.unit.pretrain import tiny
from tests.workspace import Workspace, make_workspace

SCHEMA = json.loads((Path(__file__).parents[2] / "vendor" / "kubeflow" / "trainjob.json").read_text())
JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/stemma/trainjobs"


class Cluster(BaseHTTPRequestHandler):
    """TrainJobs of one namespace: made, looked at, deleted."""

    jobs: dict[str, list[subprocess.Popen]]
    asked: list[str]

    def do_POST(self) -> None:
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(self.path.removeprefix(JOBS))
        jsonschema.validate(job, SCHEMA)
        if "dryRun=All" not in self.path:
            self.jobs[job["metadata"]["name"]] = _pods(job["spec"]["trainer"])
        self._answer(201, job)

    def do_GET(self) -> None:
        pods = self.jobs.get(self.path.removeprefix(f"{JOBS}/"))
        if pods is None:
            return self._answer(404, {})
        codes = [pod.poll() for pod in pods]
        ended = "Failed" if any(codes) else "Complete" if None not in codes else None
        conditions = [{"type": ended, "status": "True", "message": f"pods ended with {codes}"}] if ended else []
        self._answer(200, {"status": {"conditions": conditions}})

    def do_DELETE(self) -> None:
        pods = self.jobs.pop(self.path.removeprefix(f"{JOBS}/").partition("?")[0], None)
        for pod in pods or []:
            pod.terminate()
            pod.wait()
        self._answer(404 if pods is None else 200, {})

    def _answer(self, code: int, body: dict) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def _pods(trainer: dict) -> list[subprocess.Popen]:
    port = free_port()
    # What Trainer 2.3 gives the container `node`.
    meeting = {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port), "PET_NNODES": str(trainer["numNodes"])}
    given = {each["name"]: each["value"] for each in trainer["env"]}
    given |= {
        **meeting,
        "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        "PATH": os.environ["PATH"],
        "HOME": "/tmp",
    }
    return [
        subprocess.Popen(trainer["command"], env={**given, "PET_NODE_RANK": str(rank)})
        for rank in range(trainer["numNodes"])
    ]


@pytest.fixture
def cluster(tmp_path):
    """Its configuration file, and what it was asked to make."""
    handler = type("Handler", (Cluster,), {"jobs": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    path = tmp_path / "kubeconfig"
    named = {"name": "here"}
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "clusters": [{**named, "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "contexts": [{**named, "context": {"cluster": "here", "user": "here"}}],
                "users": [{**named, "user": {}}],
            }
        )
    )
    yield path, handler
    for pods in handler.jobs.values():
        for pod in pods:
            pod.kill()
    server.shutdown()


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    made = tiny.tokens(tmp_path / "made")
    workspace = make_workspace(tmp_path / "workspace")
    for part in ("data/tokens", "models/tokenizer"):
        shutil.copytree(made / part, workspace.root / part)
    changes = {"nodes": 2, "per_device_batch_size": 3, "steps": 4, "evaluate_every": 4, "log_every": 1}
    sections = {f"pretrain.{name}": value for name, value in (tiny.PARAMETERS | changes).items()}
    compute = {"kind": "kubernetes", "image": "example.org/stemma:1"}
    parameters_file.write(workspace.root / "params.yaml", {**sections, "compute.pretrain": compute})
    return workspace


def test_two_pods_train_and_their_job_is_removed(workspace, cluster):
    configuration, handler = cluster
    workspace.stage("pretrain", KUBECONFIG=str(configuration))
    receipt = json.loads((workspace.root / "receipts/pretrain.json").read_text())
    assert receipt["processes"] == 2 and len(receipt["attempts"]) == 1
    assert receipt["environment"]["compute"] == f"kubernetes, pretrain-{receipt['fingerprint'][:12]}"
    assert (workspace.root / "models/base/model.safetensors").exists()
    assert handler.asked == ["?dryRun=All", ""] and handler.jobs == {}
    (log,) = workspace.home.glob("scratch/pretrain/*/tracking/events.jsonl")
    points = [event for event in map(json.loads, log.read_text().splitlines()) if event["kind"] == "point"]
    assert [event["step"] for event in points if "loss" in event["metrics"]] == [1, 2, 3, 4]
