"""The manifests of a training on Kubernetes: by Kubeflow Trainer's schemas, as restricted as all other pods."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

from components import compute
from components.compute import Compute, kubernetes
from components.pretrain import component

ROOT = Path(__file__).resolve().parents[3]
TRAINING = ROOT / "deploy" / "k8s" / "training"
(RUNTIME,) = yaml.safe_load_all((TRAINING / "runtime.yaml").read_text())
ORDER = {
    "component": "instruct_finetune", "parameters": {}, "nodes": 2, "processes": 16, "root": "/data",
    "environment": {"PYTHONHASHSEED": "0"}, "scratch": "/data/.stemma/scratch/instruct_finetune/0123456789abcdef0123",
}  # fmt: skip


def validate(body: dict, name: str) -> None:
    jsonschema.validate(body, json.loads((ROOT / "tests" / "vendor" / "kubeflow" / f"{name}.json").read_text()))


def test_a_train_job_asks_for_what_the_parameters_say():
    spot = {"karpenter.sh/capacity-type": "spot"}
    where = Compute(
        kind="kubernetes", image="example.org/stemma:1", gpu="nvidia.com/gpu", cpus=8, memory=512, labels=spot
    )
    job = kubernetes.train_job(ORDER, where, Path("/data/order.json"))
    validate(job, "trainjob")
    assert job["metadata"] == {
        "name": "instruct-finetune-0123456789ab", "namespace": "stemma",
        "labels": {"app.kubernetes.io/part-of": "stemma", "stemma/stage": "instruct-finetune"},
    }  # fmt: skip
    trainer = job["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    assert trainer["resourcesPerNode"] == {
        "requests": {"cpu": "64", "memory": "512Gi"}, "limits": {"memory": "512Gi", "nvidia.com/gpu": "8"},
    }  # fmt: skip
    (patch,) = job["spec"]["runtimePatches"]
    (patched,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    (own,) = RUNTIME["spec"]["template"]["spec"]["replicatedJobs"]
    assert patched["name"] == own["name"]
    assert patched["template"]["spec"]["template"]["spec"] == {"nodeSelector": spot}
    assert job["spec"]["runtimeRef"]["name"] == RUNTIME["metadata"]["name"]


def test_an_unknown_field_is_no_train_job():
    job = kubernetes.train_job(ORDER, Compute(kind="kubernetes", image="a"), Path("/data/order.json"))
    job["spec"]["trainer"]["nodes"] = 2
    with pytest.raises(jsonschema.ValidationError):
        validate(job, "trainjob")


def test_the_runtimes_pods_are_restricted_and_have_no_secret():
    validate(RUNTIME, "trainingruntime")
    (job,) = RUNTIME["spec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]
    kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", **pod}, "1.30", strict=True)
    (container,) = pod["spec"]["containers"]
    assert container["name"] == "node", "the one to which Trainer gives command and variables"
    assert pod["spec"]["automountServiceAccountToken"] is False and pod["spec"]["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "secretKeyRef" not in json.dumps(pod)


@pytest.mark.parametrize("name", ["access", "network"])
def test_what_stands_beside_it_keeps_to_kubernetes_schemas(name):
    for body in yaml.safe_load_all((TRAINING / f"{name}.yaml").read_text()):
        kubernetes_validate.validate(body, "1.30", strict=True)


def test_a_cluster_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    where = Compute(kind="kubernetes", image="a")
    (problem,) = compute.problems(component, where, component.parameters(nodes=2, devices=1), {})
    assert problem.startswith("params.yaml: compute.pretrain: Kubernetes' API cannot be reached (ConfigException")
