"""Where a stage's processes run: on this machine, or on the nodes of a cluster. What they make is the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.compute.parameters import Compute, read
from components.contract import Component
from components.harness import launch

__all__ = ["Compute", "problems", "read"]


def problems(component: Component, compute: Compute, parameters: Any, environment: Mapping[str, str]) -> list[str]:
    """What keeps a stage's processes from being started where ``compute`` says, each with its remedy.

    Args:
        parameters: the stage's own.
        environment: this process's.
    """
    processes, values = component.processes(parameters), parameters.model_dump()
    if compute.kind == "ray":
        from components.compute import cluster

        return cluster.problems(component.name, compute, values, processes)
    if compute.kind == "kubernetes":
        from components.compute import kubernetes

        return kubernetes.problems(component.name, compute, values, processes)
    return launch.problems(component.name, values, processes, environment)
