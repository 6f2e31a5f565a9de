"""With how many nodes a training goes on after a fault, where not all of its nodes come back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from components.compute.parameters import Compute
from components.contract import Component

WAIT = "STEMMA_REPLACEMENT_SECONDS"
WAIT_SECONDS = 300  # for which a training with a checkpoint waits for all of its nodes, where WAIT does not say it
SHARDINGS = ("ddp", "fsdp2")


def fewer(compute: Compute, parameters: Any) -> list[int]:
    """Numbers of nodes, fewer than all, with which the training's steps differ by rounding alone; the largest first.

    A step's gradient is a mean over the sequences of the whole batch, whichever processes have them.

    Args:
        parameters: the stage's.
    """
    if compute.min_nodes is None or parameters.sharding not in SHARDINGS:
        return []
    return [nodes for nodes in range(parameters.nodes - 1, compute.min_nodes - 1, -1) if _shares(nodes, parameters)]


def wait_seconds(environment: Mapping[str, str] = os.environ) -> int:
    """How long a training that has a checkpoint waits for all of its nodes."""
    return int(environment.get(WAIT, WAIT_SECONDS))


def problems(component: Component, compute: Compute, parameters: Any, environment: Mapping[str, str]) -> list[str]:
    """What is wrong with ``min_nodes``, each with its remedy."""
    if compute.min_nodes is None:
        return []
    stage, least = component.name, compute.min_nodes
    where = f"params.yaml: compute.{stage}.min_nodes"
    if not component.apart:
        return [f"{where}: pretrain alone goes on with fewer nodes: a process of {stage} reads its own number's state "
                "from a checkpoint; leave it out"]  # fmt: skip
    found = []
    if not environment.get(WAIT, "0").isdecimal():
        found.append(f"{WAIT} is {environment[WAIT]!r}: set it to the seconds that lost nodes are waited for")
    if least > parameters.nodes:
        found.append(f"{where}: {least} is more than {stage}.nodes, which is {parameters.nodes}; lower it")
    elif parameters.sharding not in SHARDINGS:
        found.append(
            f"{where}: sharding {parameters.sharding} needs the number of processes that it began with: make it ddp or "
            "fsdp2, of which a step is the same sum with any, or leave min_nodes out"
        )
    elif least < parameters.nodes and not fewer(compute, parameters):
        found.append(
            f"{where}: of the numbers of nodes from {least} to {parameters.nodes - 1} none {_needed(parameters)}; "
            f"change {stage}.nodes or the batch, or leave min_nodes out"
        )
    return found


def _shares(nodes: int, parameters: Any) -> bool:
    processes = nodes * parameters.devices
    if parameters.sharding == "fsdp2" and processes == 1:
        return False  # it would not be sharded, which is another precision of the weights with bf16
    if parameters.batch_ramp_start is not None:
        return bool(parameters.nodes % nodes == 0)  # every batch is a multiple of all processes
    return bool(parameters.batch_size % processes == 0)


def _needed(parameters: Any) -> str:
    """What a smaller number of nodes has to do, in words."""
    needed = (
        f"divides the whole batch of {parameters.batch_size} sequences among nodes x {parameters.devices} devices"
        if parameters.batch_ramp_start is None
        else f"divides {parameters.nodes}, as a batch that rises (batch_ramp_start) needs"
    )
    return f"{needed}, with two processes or more for fsdp2" if parameters.sharding == "fsdp2" else needed
