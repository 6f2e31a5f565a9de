"""What a Ray cluster has, and whether a stage fits on it: asked in a process of its own, which Ray leaves as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from components.compute.parameters import Compute
from components.engine.connection import connected
from components.harness import launch
from core import python
from core.errors import InputProblem

GIB = 1 << 30


def problems(stage: str, compute: Compute, parameters: Mapping[str, Any], processes: int) -> list[str]:
    """What keeps a stage from running on the cluster that ``compute`` names, each with its remedy.

    Args:
        parameters: the stage's; ``nodes`` and ``sharding`` are looked at.
        processes: how many it asks for on all nodes together.
    """
    try:
        nodes = _nodes(stage, compute)
    except InputProblem as problem:
        return problem.problems
    wanted = parameters.get("nodes", 1)
    gpus = most_gpus(nodes)
    found = launch.sharding_problems(stage, parameters, processes, "the cluster's largest node", lambda: gpus)
    each = bundle(compute, processes // wanted, gpus)
    fitting = [node for node in nodes if fits(node, each, compute.labels)]
    least = min(wanted, compute.min_nodes or wanted)
    if len(fitting) < least:
        labels = f", and the labels {compute.labels}" if compute.labels else ""
        found.append(
            f"params.yaml: compute.{stage}: {stage} needs {_count(least, 'node')} with {shown(each)} each{labels}; of "
            f"the cluster's {_count(len(nodes), 'node')} {len(fitting)} can have that: start more, or lower "
            f"{stage}.nodes, {stage}.devices or what compute.{stage} asks for"
        )
    return found


def bundle(compute: Compute, devices: int, gpus: int) -> dict[str, float]:
    """Ray's resources for ``devices`` processes on one node: a GPU for each, where the cluster has ``gpus``."""
    found: dict[str, float] = {"CPU": compute.cpus * devices}
    if gpus:
        found["GPU"] = devices
    if compute.memory is not None:
        found["memory"] = int(compute.memory * GIB)
    return found


def room(compute: Compute, nodes: list[dict[str, Any]]) -> int:
    """How many processes of one device fit on the nodes together, leaving aside what others use of them."""
    each = bundle(compute, 1, most_gpus(nodes))
    fitting = [node["resources"] for node in nodes if fits(node, each, compute.labels)]
    return sum(min(int(has[name] // size) for name, size in each.items()) for has in fitting)


def most_gpus(nodes: list[dict[str, Any]]) -> int:
    """GPUs of the node that has most of them."""
    return max((int(node["resources"].get("GPU", 0)) for node in nodes), default=0)


def fits(node: Mapping[str, Any], wanted: Mapping[str, float], labels: Mapping[str, str]) -> bool:
    """Whether a node has the resources and the labels, leaving aside what others use of it."""
    has = node["resources"]
    return labels.items() <= node["labels"].items() and all(has.get(name, 0) >= size for name, size in wanted.items())


def shown(bundle: Mapping[str, float]) -> str:
    """Resources in words: ``2 CPU, 1 GPU, 64 GiB of memory``."""
    sizes = {name: f"{size:g} {name}" for name, size in bundle.items()}
    if "memory" in bundle:
        sizes["memory"] = f"{bundle['memory'] / GIB:g} GiB of memory"
    return ", ".join(sizes.values())


def alive(ray: Any) -> list[dict[str, Any]]:
    """``id``, ``resources`` and ``labels`` of every node that is there now."""
    return [
        {"id": node["NodeID"], "resources": node["Resources"], "labels": dict(node.get("Labels") or {})}
        for node in ray.nodes()
        if node["Alive"]
    ]


def _nodes(stage: str, compute: Compute) -> list[dict[str, Any]]:
    asked = json.dumps([stage, compute.model_dump()])
    done = subprocess.run(
        python.command("components.compute.cluster", asked), capture_output=True, text=True, check=False
    )
    answer = done.stdout.strip().rpartition("\n")[2]
    if done.returncode or not answer:
        raise InputProblem(f"params.yaml: compute.{stage}: the cluster cannot be asked: {done.stderr.strip()[-500:]}")
    nodes, wrong = json.loads(answer)
    if wrong:
        raise InputProblem(wrong)
    found: list[dict[str, Any]] = nodes
    return found


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def main() -> None:
    """Print ``[nodes, problems]`` of the cluster that the argument names."""
    stage, compute = json.loads(sys.argv[1])
    try:
        ray = connected(Compute(**compute).address, f"params.yaml: compute.{stage}")
    except InputProblem as problem:
        print(json.dumps([[], problem.problems]))
        return
    print(json.dumps([alive(ray), []]))
    ray.shutdown()


if __name__ == "__main__":
    main()
