"""The manifests keep to Kubernetes' schemas and its restricted profile, and whatever they refer to is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.docker import make_secrets
from deploy.k8s.register import job_template

K8S = Path(__file__).resolve().parents[3] / "deploy" / "k8s"
BASE = K8S / "base"
OVERLAYS = sorted(path.parent for path in K8S.glob("overlays/*/kustomization.yaml"))
VERSION = "1.30"
TEMPLATE = BASE / "job-template.json"


def documents(path: Path) -> list[dict]:
    return [body for body in yaml.safe_load_all(path.read_text()) if body]


RESOURCES = [body for name in yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
             for body in documents(BASE / name)]  # fmt: skip


def name_of(body: dict) -> str:
    return f"{body['kind']}/{body['metadata']['name']}"


def pods(body: Any) -> Iterator[dict]:
    """Every pod's ``spec`` in a manifest."""
    if isinstance(body, dict):
        if "containers" in body:
            yield body
        for each in body.values():
            yield from pods(each)
    elif isinstance(body, list):
        for each in body:
            yield from pods(each)


def filled_template(**values: Any) -> dict:
    """The manifest of a flow run's job, as the worker fills it in."""
    template = job_template(TEMPLATE, None, None)
    defaults = {name: body.get("default") for name, body in template["variables"]["properties"].items()}
    given = {**defaults, "labels": {}, "annotations": {}, "name": "run", "command": ["prefect", "flow-run", "execute"],
             "env": [], **values}  # fmt: skip

    def fill(node: Any) -> Any:
        if isinstance(node, str) and (whole := re.fullmatch(r"\{\{ (\w+) \}\}", node)):
            return given[whole[1]]
        if isinstance(node, str):
            return node.replace("{{ name }}", "run")
        if isinstance(node, list):
            return [fill(each) for each in node]
        if isinstance(node, dict):
            return {name: fill(each) for name, each in node.items()}
        return node

    return fill(template["job_configuration"]["job_manifest"])


JOB = filled_template()


@pytest.mark.parametrize("body", [*RESOURCES, {**JOB, "metadata": {"name": "run"}}], ids=name_of)
def test_every_manifest_keeps_to_the_schema(body):
    kubernetes_validate.validate(body, VERSION, strict=True)


@pytest.mark.parametrize(
    "body", [body for body in [*RESOURCES, JOB] if list(pods(body))], ids=lambda body: body["kind"]
)
def test_pods_pass_the_restricted_profile_and_are_bounded(body):
    for pod in pods(body):
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        # Kubernetes' own API is for the worker alone, which makes the pods of the runs.
        worker = pod.get("serviceAccountName") == "worker"
        assert worker or pod["automountServiceAccountToken"] is False
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False and security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"] and "cpu" in container["resources"]["requests"]
            for mounted in container.get("volumeMounts", ()):
                assert mounted["name"] in volumes_of(pod, body), mounted


def volumes_of(pod: dict, body: dict) -> set[str]:
    claimed = {claim["metadata"]["name"] for claim in body["spec"].get("volumeClaimTemplates", ())}
    return claimed | {volume["name"] for volume in pod.get("volumes", ())}


def test_services_that_last_are_probed():
    for body in RESOURCES:
        if body["kind"] in ("Deployment", "StatefulSet"):
            for container in body["spec"]["template"]["spec"]["containers"]:
                assert {"livenessProbe", "readinessProbe"} <= set(container), name_of(body)


def test_secrets_and_settings_that_are_referred_to_are_made():
    made = {"secrets": set(make_secrets.generate())}
    for generated in yaml.safe_load((BASE / "kustomization.yaml").read_text())["configMapGenerator"]:
        literals = {line.partition("=")[0] for line in generated.get("literals", ())}
        made[generated["name"]] = literals | set(generated.get("files", ()))
    seen = set()

    def look(node: Any) -> None:
        if isinstance(node, dict):
            for kind in ("secretKeyRef", "configMapKeyRef"):
                if kind in node:
                    assert node[kind]["key"] in made[node[kind]["name"]], node
                    seen.add(node[kind]["key"])
            if "configMapRef" in node:
                assert node["configMapRef"]["name"] in made
            for each in node.values():
                look(each)
        elif isinstance(node, list):
            for each in node:
                look(each)

    look([*RESOURCES, JOB])
    assert made["secrets"] <= seen, "a secret that nothing uses"


def test_each_pod_has_a_role_and_a_key_of_its_own_and_no_administrators():
    def secrets_of(container: dict) -> set[str]:
        found = (each.get("valueFrom", {}).get("secretKeyRef", {}).get("key") for each in container.get("env", ()))
        return set(found) - {None}

    kinds = [*RESOURCES, {"metadata": {"name": "run"}, **JOB}]
    has = {
        container["name"]: secrets_of(container)
        for body in kinds for pod in pods(body) for container in [*pod["containers"], *pod.get("initContainers", ())]
    }  # fmt: skip
    assert [name for name in has if "POSTGRES_PASSWORD" in has[name]] == ["postgres"]
    assert sorted(name for name in has if "S3_SECRET_KEY" in has[name]) == ["buckets", "storage"]
    assert has["gateway"] == {"GATEWAY_DATABASE_PASSWORD", "GATEWAY_S3_SECRET_KEY", "STEMMA_API_KEYS"}
    decides = {"REGISTRY_DATABASE_PASSWORD", "WORKER_S3_SECRET_KEY", "PREFECT_AUTH", "MLFLOW_ADMIN_PASSWORD"}
    assert has["console"] == has["prefect-job"] == decides
    assert has["backup"] == {"BACKUP_DATABASE_PASSWORD", "BACKUP_S3_SECRET_KEY"}


def test_the_signing_key_is_in_the_pods_of_flow_runs_of_the_console_and_of_back_ups_alone():
    def has_it(pod: dict) -> bool:
        return any(each.get("persistentVolumeClaim", {}).get("claimName") == "keys" for each in pod.get("volumes", ()))

    assert [pod["containers"][0]["name"] for pod in pods(RESOURCES) if has_it(pod)] == ["console", "backup"]
    (run,) = pods(JOB)
    assert has_it(run) and {"name": "keys", "mountPath": "/keys"} in run["containers"][0]["volumeMounts"]


def test_services_find_pods_and_pods_find_their_accounts_and_claims():
    labels = {body["metadata"]["name"]: body["spec"]["template"]["metadata"]["labels"]
              for body in RESOURCES if body["kind"] in ("Deployment", "StatefulSet")}  # fmt: skip
    accounts = {body["metadata"]["name"] for body in RESOURCES if body["kind"] == "ServiceAccount"}
    claims = {body["metadata"]["name"] for body in RESOURCES if body["kind"] == "PersistentVolumeClaim"}
    for body in RESOURCES:
        if body["kind"] == "Service":
            found = [name for name, has in labels.items() if body["spec"]["selector"].items() <= has.items()]
            assert found == [body["metadata"]["name"]]
    for pod in pods([*RESOURCES, JOB]):
        assert pod.get("serviceAccountName", "worker") in accounts
        for volume in pod.get("volumes", ()):
            assert volume.get("persistentVolumeClaim", {}).get("claimName", "workspace") in claims


def test_nothing_is_reached_that_no_policy_names():
    policies = {body["metadata"]["name"]: body["spec"] for body in RESOURCES if body["kind"] == "NetworkPolicy"}
    assert policies["nothing-by-default"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name in ("postgres", "storage", "prefect", "mlflow", "gateway", "console"):
        (service,) = [body for body in RESOURCES if name_of(body) == f"Service/{name}"]
        opened = [port["port"] for rule in policies[name]["ingress"] for port in rule["ports"]]
        assert opened == [port["port"] for port in service["spec"]["ports"]]


def test_a_flow_runs_pod_asks_for_gpus_and_a_run_may_ask_for_another_number():
    def gpus(body: dict) -> Any:
        (pod,) = pods(body)
        return pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]

    assert gpus(JOB) == 1 and gpus(filled_template(gpus=8)) == 8
    assert job_template(TEMPLATE, "0", "example.org/stemma:1")["variables"]["properties"]["gpus"]["default"] == 0


def test_prefects_worker_takes_the_job_template():
    """Its own code fills the template in, and adds a run's variables to those that stand there."""
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration, KubernetesWorkerVariables

    template = json.loads(TEMPLATE.read_text())
    unknown = set(template["variables"]["properties"]) - set(KubernetesWorkerVariables.model_fields)
    assert unknown == {"gpus", "node_selector", "shared_memory", "grace_period_seconds", "kubernetes_api"}
    config = KubernetesWorkerJobConfiguration.model_validate(
        {
            **{name: None for name in ("command", "cluster_config", "job_watch_timeout_seconds")},
            **{"name": "run", "env": {"PREFECT__FLOW_RUN_ID": "1"}, "labels": {}, "annotations": {}},
            **{"namespace": "stemma", "stream_output": True, "pod_watch_timeout_seconds": 60},
            "job_manifest": {**JOB, "metadata": {"labels": {}, "annotations": {}, "generateName": "run-"}},
        }
    )
    config._populate_env_in_manifest()
    container = config.job_manifest["spec"]["template"]["spec"]["containers"][0]
    names = [each["name"] for each in container["env"]]
    assert {"PREFECT__FLOW_RUN_ID", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "PREFECT_API_AUTH_STRING"} <= set(names)


def test_the_worker_watches_its_own_namespace_and_hands_on_no_password(monkeypatch):
    """By the settings as Prefect's worker reads them: its defaults are all namespaces, and the value itself."""
    from prefect_kubernetes.settings import KubernetesSettings

    (worker,) = [body for body in RESOURCES if name_of(body) == "Deployment/worker"]
    for each in worker["spec"]["template"]["spec"]["containers"][0]["env"]:
        if "value" in each:
            monkeypatch.setenv(each["name"], each["value"])
    settings = KubernetesSettings()
    assert settings.observer.namespaces == {"stemma"}
    assert settings.worker.api_auth_string_secret_name == "secrets"
    assert settings.worker.api_auth_string_secret_key in make_secrets.generate()


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_an_overlay_refers_to_what_is_there(overlay):
    body = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    assert [(overlay / name).resolve() for name in body["resources"]] == [BASE]
    for patch in body["patches"]:
        if "path" in patch:
            for patched in documents(overlay / patch["path"]):
                assert name_of(patched) in map(name_of, RESOURCES)
    own = {container["image"] for pod in pods(RESOURCES) for container in pod["containers"]}
    renamed = {image["name"] for image in body["images"]}
    assert renamed == {image for image in own if ":" not in image}, "an image without a version is given one"
    assert all(image.get("newTag") for image in body["images"])


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl (with kustomize in it) is not installed")
def test_kustomize_renders_it_to_valid_manifests(overlay, tmp_path):
    shutil.copytree(K8S, tmp_path / "k8s", ignore=shutil.ignore_patterns("__pycache__", "secrets.env"))
    secrets = "\n".join(f"{name}={value}" for name, value in make_secrets.generate().items())
    (tmp_path / "k8s" / "overlays" / overlay.name / "secrets.env").write_text(secrets)
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path / "k8s" / "overlays" / overlay.name)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    rendered = [body for body in yaml.safe_load_all(done.stdout) if body]
    assert len(rendered) == len(RESOURCES) + 4  # three config maps and the secret
    for body in rendered:
        kubernetes_validate.validate(body, VERSION, strict=True)
        assert body["kind"] == "Namespace" or body["metadata"]["namespace"] == "stemma"
        for pod in pods(body):
            assert all(":" in container["image"] for container in pod["containers"])
