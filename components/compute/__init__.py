"""Where a stage's processes run: on this machine, or on the nodes of a cluster. What they make is the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.compute.parameters import Compute, read
from components.contract import Component
from components.harness import launch
from core import object_stores

__all__ = ["Compute", "problems", "read"]


def problems(component: Component, compute: Compute, parameters: Any, environment: Mapping[str, str]) -> list[str]:
    """What keeps a stage's processes from being started where ``compute`` says, each with its remedy.

    Args:
        parameters: the stage's own.
        environment: this process's.
    """
    processes, values = component.processes(parameters), parameters.model_dump()
    if component.spreads and compute.kind == "kubernetes":
        return [f"params.yaml: compute.{component.name}.kind: kubernetes trains; make it ray, or local"]
    if compute.kind == "ray":
        from components.compute import cluster, elastic

        found = elastic.problems(component, compute, parameters, environment)
        found += cluster.problems(component.name, compute, values, processes)
        return found + _problems_of_storage(component, compute, values)
    if compute.kind == "kubernetes":
        from components.compute import kubernetes

        return kubernetes.problems(component.name, compute, values, processes)
    return launch.problems(component.name, values, processes, environment)


def _problems_of_storage(component: Component, compute: Compute, values: Mapping[str, Any]) -> list[str]:
    """What keeps a stage's files from travelling by object storage."""
    if compute.storage is None:
        return []
    where = f"params.yaml: compute.{component.name}.storage"
    found = []
    if values.get("nodes", 1) > 1 and not component.apart:
        found.append(
            f"{where}: the nodes of {component.name} need a disk in common, since every process of it reads its "
            f"checkpoints: set {component.name}.nodes to 1, or leave storage out"
        )
    if (wrong := object_stores.refused(compute.storage)) is not None:
        found.append(f"{where}: {wrong}")
    return found
