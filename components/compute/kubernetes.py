"""A stage as a TrainJob of Kubeflow Trainer: a pod a node, each with the worker that a machine of its own would start.

The pods' form (volumes, rights, account) is that of a TrainingRuntime, which an administrator of the cluster applies
once (``deploy/k8s/training``); the manifest here says what differs from one stage to the next. Trainer gives each pod
its number and the address to meet at, as torchrun's own variables.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from components.compute.parameters import Compute
from components.harness import launch, outcomes
from core import python
from core.errors import InputProblem
from core.files import write_json

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
POLL_SECONDS = 2.0
SILENT_SECONDS = 120.0  # for which Kubernetes' API may not answer while a training runs
REMOVAL_SECONDS = 180.0  # for which an earlier TrainJob of the same work may take to save its checkpoint and to end
# As PID 1 of its container the worker must be the program itself, so that signals reach it.
SCRIPT = (
    f"export {launch.NODE_RANK}=$PET_NODE_RANK {launch.MAIN_ADDRESS}=$PET_MASTER_ADDR:$PET_MASTER_PORT; "
    'cd "$0" && exec python "$@"'
)


def train_job(order: Mapping[str, Any], compute: Compute, path: Path) -> dict[str, Any]:
    """The manifest of the work of ``order``, which lies at ``path`` on the volume that all pods have.

    Its name is that of the work, so that two of them never write the same checkpoints.
    """
    nodes = order["nodes"]
    devices = order["processes"] // nodes
    wanted = {"cpu": str(compute.cpus * devices)}
    if compute.memory is not None:
        wanted["memory"] = f"{compute.memory:g}Gi"
    limits = {name: size for name, size in wanted.items() if name == "memory"}
    if compute.gpu is not None:
        limits[compute.gpu] = str(devices)
    variables = {**order["environment"], "OMP_NUM_THREADS": str(compute.cpus), "PYTHONPATH": order["root"]}
    component = order["component"].replace("_", "-")
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": compute.runtime},
        "trainer": {
            "image": compute.image,
            "command": ["sh", "-c", SCRIPT, order["root"], *python.command("components.harness.worker", str(path))[1:]],
            "env": [{"name": name, "value": value} for name, value in sorted(variables.items())],
            "numNodes": nodes,
            "numProcPerNode": devices,
            "resourcesPerNode": {"requests": wanted, "limits": limits},
        },
    }
    if compute.labels:
        pod = {"spec": {"nodeSelector": compute.labels}}
        job = {"name": "node", "template": {"spec": {"template": pod}}}
        patch = {"template": {"spec": {"replicatedJobs": [job]}}}
        spec["runtimePatches"] = [{"manager": "stemma.dev/compute", "trainingRuntimeSpec": patch}]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {
            "name": f"{component}-{Path(order['scratch']).name[:12]}",
            "namespace": compute.namespace,
            "labels": {"app.kubernetes.io/part-of": "stemma", "stemma/stage": component},
        },
        "spec": spec,
    }


def problems(stage: str, compute: Compute, parameters: Mapping[str, Any], processes: int) -> list[str]:
    """What keeps the cluster from taking the stage's TrainJob: its API is asked to try, without making one."""
    found = []
    if compute.gpu is None and parameters.get("sharding", "ddp") != "ddp":
        found.append(
            f"params.yaml: {stage}.sharding: {parameters['sharding']}: divides the model among GPUs; name their "
            f"resource in compute.{stage}.gpu (nvidia.com/gpu), or make it ddp"
        )
    # Names and paths are made when it is run; they are like these.
    order = {
        "component": stage, "nodes": parameters.get("nodes", 1), "processes": processes, "environment": {},
        "root": "/data", "scratch": "/data/0000000000000000000-trial",
    }  # fmt: skip
    job = train_job(order, compute, Path("/data/order.json"))
    try:
        _Api(compute.namespace).ask("create_namespaced_custom_object", job, dry_run="All")
    except _Refused as refused:
        found.append(f"params.yaml: compute.{stage}: {refused}")
    return found


def run(order: Mapping[str, Any], grace: float) -> dict[str, Any]:
    """The outcome of the stage of ``order``; one with ``died`` is to be started again, from its checkpoint.

    SIGTERM ends the pods, which save their checkpoint.

    Args:
        grace: seconds that a worker takes at most from SIGTERM to its end.

    Raises:
        InputProblem: the cluster refuses the TrainJob.
    """
    stage, compute = order["component"], Compute(**order["compute"])
    asked_at: float | None = None

    def stop(*_: object) -> None:
        nonlocal asked_at
        asked_at = time.monotonic() if asked_at is None else asked_at

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    outcome = Path(order["outcome"])
    path = outcome.with_name("order-of-a-pod.json")
    write_json(path, {**order, "compute": None, "supervisor": None})
    job, api = train_job(order, compute, path), _Api(compute.namespace)
    name = job["metadata"]["name"]
    try:
        api.remove(name, REMOVAL_SECONDS)  # one that a killed run left
        api.ask("create_namespaced_custom_object", job)
    except _Refused as refused:
        raise InputProblem(f"params.yaml: compute.{stage}: {refused}") from refused
    print(f"{stage}: TrainJob {name} in the namespace {compute.namespace}", file=sys.stderr)
    heard = time.monotonic()
    ended = None
    try:
        while ended is None and asked_at is None:
            time.sleep(POLL_SECONDS)
            try:
                ended, heard = _end_of(api.ask("get_namespaced_custom_object", name)), time.monotonic()
            except _Refused as refused:
                if refused.status == HTTPStatus.NOT_FOUND:
                    ended = "it was deleted"
                elif time.monotonic() - heard > SILENT_SECONDS:
                    ended = f"Kubernetes' API has not answered for {SILENT_SECONDS:g} seconds: {refused}"
    finally:
        api.remove(name, 0 if asked_at is None else grace)
    left = outcomes.left(outcome)
    if left is not None and (left["state"] != outcomes.INTERRUPTED or asked_at is not None):
        where = f"kubernetes, {name}"
        return {**left, "environment": {**left.get("environment", {}), "compute": where}}
    if asked_at is not None:
        return {"state": outcomes.INTERRUPTED, "problems": []}
    return {"state": outcomes.FAILED, "died": True, "problems": [f"TrainJob {name} left no result: {ended}"]}


def _end_of(job: Mapping[str, Any]) -> str | None:
    """How a TrainJob ended, in its own words; ``None`` while it has not."""
    for condition in job.get("status", {}).get("conditions", []):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return f"{condition['type'].lower()}, {condition.get('message') or condition.get('reason')}"
    return None


class _Refused(Exception):
    """Kubernetes' API does not do what it was asked, or cannot be reached; the message says why."""

    def __init__(self, message: str, status: int | None = None):
        self.status = status
        super().__init__(message)


class _Api:
    """TrainJobs of one namespace, by the account of this pod or the one of ``KUBECONFIG``."""

    def __init__(self, namespace: str):
        self.namespace = namespace

    def ask(self, method: str, what: Any, **options: Any) -> dict[str, Any]:
        """Call a method of the client's ``CustomObjectsApi``.

        Raises:
            _Refused: what it answers, or that it does not.
        """
        try:
            from kubernetes_asyncio.client import ApiException
        except ImportError as error:
            raise _Refused(
                "needs Kubernetes' client: pip install 'stemma-llm[kubernetes]', or make it local"
            ) from error
        try:
            found: dict[str, Any] = asyncio.run(self._asked(method, what, options))
            return found
        except ApiException as error:
            raise _Refused(_said(error, self.namespace), error.status) from error
        except Exception as error:  # a cluster that is not configured, or not reached; clients have errors of their own
            raise _Refused(
                f"Kubernetes' API cannot be reached ({type(error).__name__}: {error}): run in a pod whose account may "
                "use it, or name a cluster in KUBECONFIG"
            ) from error

    async def _asked(self, method: str, what: Any, options: Mapping[str, Any]) -> Any:
        from kubernetes_asyncio import client, config

        try:
            config.load_incluster_config()
        except config.ConfigException:
            await config.load_kube_config()
        async with client.ApiClient() as connection:
            call = getattr(client.CustomObjectsApi(connection), method)
            return await call(GROUP, VERSION, self.namespace, PLURAL, what, _request_timeout=30, **options)

    def remove(self, name: str, seconds: float) -> None:
        """Delete a TrainJob, and wait ``seconds`` for its pods to be gone too; nothing where there is none."""
        until = time.monotonic() + seconds
        try:
            self.ask("delete_namespaced_custom_object", name, propagation_policy="Foreground")
            while time.monotonic() < until:
                self.ask("get_namespaced_custom_object", name)
                time.sleep(POLL_SECONDS / 4)
        except _Refused as refused:
            if refused.status != HTTPStatus.NOT_FOUND:
                raise


def _said(error: Any, namespace: str) -> str:
    """An answer of the API as a message with a remedy."""
    reason = " ".join(str(error.body or error.reason).split())[:500]
    remedy = {
        HTTPStatus.NOT_FOUND: "install Kubeflow Trainer in the cluster (docs/scale.md), or correct the namespace",
        HTTPStatus.FORBIDDEN: f"let this account make TrainJobs in the namespace {namespace} (deploy/k8s/training)",
        HTTPStatus.UNAUTHORIZED: "give this pod's account a token, or a valid one in KUBECONFIG",
    }.get(error.status, "correct what it names")
    return f"Kubernetes refuses the TrainJob ({error.status}: {reason}): {remedy}"
