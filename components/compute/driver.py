"""Runs a stage's processes on the nodes of a Ray cluster, and follows them to their end.

On each node an actor starts the worker that a machine of its own would start (``components/compute/node.py``), so that
launchers, shardings, signals and checkpoints are those of any other training. Ray decides where, sees what is lost and
carries the event log. Ray Train's trainer does the same and more, but runs a training function in a thread of its own
processes: there are no signals there, and neither accelerate's launch files nor torchrun.
"""

from __future__ import annotations

import itertools
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import components
from components.compute import cluster, elastic, travel
from components.compute.node import Node, Place, State, versions
from components.compute.parameters import Compute
from components.engine.connection import connected
from components.harness import outcomes
from components.harness.remote_checkpoints import newest_of
from core import transfers
from core.errors import InputProblem, first_line
from core.processes import notice_seconds

POLL_SECONDS = 0.2
TRIAL_SECONDS = 5.0  # for which Ray is asked for a number of nodes, where another one would do
SILENT_SECONDS = 60.0  # from which on a node that does not answer is taken for lost


class _Lost(Exception):
    """The processes of a node are gone; the message says which node and what is known."""


def run(order: Mapping[str, Any], grace: float) -> dict[str, Any]:
    """The outcome of the stage of ``order``; one with ``died`` is to be started again, from its checkpoint.

    SIGTERM is handed on to every node.

    Args:
        grace: seconds that a worker takes at most from SIGTERM to its end.

    Raises:
        InputProblem: the cluster cannot be used, or its nodes do not see the workspace.
    """
    stage, compute = order["component"], Compute(**order["compute"])
    ray = connected(compute.address, f"params.yaml: compute.{stage}")
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)  # after Ray, which has a handler of its own
    signal.signal(signal.SIGINT, stop)
    try:
        if compute.storage is not None:
            order = travel.sent(order, lambda: stopping)
        nodes = _reserved(ray, order, compute, lambda: stopping)
        if not nodes:
            return {"state": outcomes.INTERRUPTED, "problems": []}
        devices = order["processes"] // order["nodes"]
        own = {"nodes": len(nodes), "processes": len(nodes) * devices, "elastic": compute.min_nodes is not None}
        order = {**order, **own}
        if _has_room_for_copies(ray, order, compute):
            order = {**order, "copies": order["compute"]}
        outcome = _Run(ray, order, nodes, lambda: stopping, grace).run()
        return outcome if compute.storage is None else travel.fetched(order, outcome, lambda: stopping)
    except transfers.Stopped:
        return {"state": outcomes.INTERRUPTED, "problems": []}
    except _Lost as lost:
        return {"state": outcomes.FAILED, "died": True, "problems": [str(lost)]}
    finally:
        ray.shutdown()


def _has_room_for_copies(ray: Any, order: Mapping[str, Any], compute: Compute) -> bool:
    """Whether the main process draws answers with copies on the rest of the cluster; else the processes share them.

    They do that where the rest is smaller than what they have themselves.
    """
    return components.load(order["component"]).draws and (
        cluster.room(compute, cluster.alive(ray)) >= 2 * order["processes"]
    )


def _reserved(ray: Any, order: Mapping[str, Any], compute: Compute, stopping: Callable[[], bool]) -> list[Any]:
    """An actor on each of the nodes, which are waited for; none if it is to stop meanwhile."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    wanted = cluster.bundle(compute, order["processes"] // order["nodes"], cluster.most_gpus(cluster.alive(ray)))
    group = _group(ray, order, compute, wanted, stopping)
    if group is None:
        return []
    actor = ray.remote(Node)
    return [
        actor.options(
            num_cpus=wanted["CPU"],
            num_gpus=wanted.get("GPU", 0),
            memory=wanted.get("memory"),
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank),
        ).remote(Path(order["scratch"]).name)
        for rank in range(group.bundle_count)
    ]


def _group(
    ray: Any,
    order: Mapping[str, Any],
    compute: Compute,
    wanted: Mapping[str, float],
    stopping: Callable[[], bool],
) -> Any:
    """Ray's placement group of the nodes, once they are there; ``None`` if it is to stop before.

    Where fewer than all would do, all are waited for only so long, and then each number is tried in turn.
    """
    from ray.util.placement_group import placement_group, remove_placement_group

    stage, everything, fewer = order["component"], order["nodes"], _fewer(order, compute)
    seconds = elastic.wait_seconds() if fewer else math.inf
    said = False
    for nodes in itertools.cycle([everything, *fewer]):
        group = placement_group(
            [wanted] * nodes,
            strategy="STRICT_SPREAD",
            bundle_label_selector=[compute.labels] * nodes if compute.labels else None,
        )
        until = time.monotonic() + seconds
        while not group.wait(timeout_seconds=1):
            if stopping():
                return None
            if not said:
                free = [node for node in cluster.alive(ray) if cluster.fits(node, wanted, compute.labels)]
                less = f"; after {seconds:g} s it goes on with {fewer[-1]} or more" if fewer else ""
                print(
                    f"{stage}: waits for {nodes} nodes with {cluster.shown(wanted)} each; {len(free)} are there, in "
                    f"use or not{less}",
                    file=sys.stderr,
                )
                said = True
            if time.monotonic() > until:
                remove_placement_group(group)
                seconds = TRIAL_SECONDS
                break
        else:
            if nodes < everything:
                print(f"{stage}: goes on with {nodes} of {everything} nodes", file=sys.stderr)
            return group
    return None


def _fewer(order: Mapping[str, Any], compute: Compute) -> list[int]:
    """Numbers of nodes with which the work may go on where not all are there: once it has a checkpoint."""
    if not order.get("checkpoint") and not newest_of(Path(order["scratch"]) / "checkpoints"):
        return []
    return elastic.fewer(compute, components.load(order["component"]).parameters.model_validate(order["parameters"]))


class _Run:
    """The workers of one attempt."""

    def __init__(
        self, ray: Any, order: Mapping[str, Any], nodes: list[Any], stopping: Callable[[], bool], grace: float
    ):
        self.ray, self.order, self.nodes, self.stopping = ray, order, nodes, stopping
        # Where files travel, a node that is asked to end brings its last checkpoint to the store within its notice.
        self.patience = notice_seconds() - 1 if "sent" in order else grace + 3
        self.places: list[Place] = []
        self._begin()

    def _begin(self) -> None:
        self.states: dict[int, State] = {}
        self.lost: dict[int, str] = {}  # nodes that are gone, and how that was seen
        self.heard = [time.monotonic()] * len(self.nodes)
        self.known = 0  # bytes of the first process's event log

    def run(self) -> dict[str, Any]:
        """The outcome, once all workers have ended.

        Raises:
            InputProblem: a node does not see the workspace's files, or has other libraries.
            _Lost: a node, or a process on it, is gone without a word.
        """
        self.places = self._asked([node.look.remote(self.order["scratch"]) for node in self.nodes])
        if wrong := [line for place in self.places for line in self._problems_of(place)]:
            raise InputProblem(wrong)
        if "sent" in self.order:
            # All of it first: workers wait for each other a few minutes only.
            self._asked([node.fetch.remote(self.order) for node in self.nodes])
            self._follow()
            if self.lost or any(state.code != 0 for state in self.states.values()):
                return self._outcome()
            self._begin()
        [first] = self._asked([self.nodes[0].look.remote(self.order["scratch"])])  # again: its port is free now
        meeting = f"{first.host}:{first.port}"
        self._asked([node.start.remote(self.order, rank, meeting) for rank, node in enumerate(self.nodes)])
        self._follow()
        return self._outcome()

    def _problems_of(self, place: Place) -> list[str]:
        found, where = [], f"params.yaml: compute.{self.order['component']}: node {place.host}"
        if not place.sees and "sent" not in self.order:
            found.append(
                f"{where} has no {self.order['scratch']}: let the workspace and its home (STEMMA_HOME) lie on a disk "
                f"that all nodes share, under the same path, or set storage"
            )
        here = versions()
        names = sorted({**here, **place.versions})
        other = [f"{name} {place.versions.get(name)}, not {here.get(name)}" for name in names
                 if place.versions.get(name) != here.get(name)]  # fmt: skip
        if other:
            found.append(f"{where} has {'; '.join(other)}: install the same on all machines")
        return found

    def _follow(self) -> None:
        """Wait until the processes of all nodes have ended, or are lost or given up."""
        until: float | None = None
        while running := self._running():
            if until is None and (self.stopping() or self.lost or any(state.code for state in self.states.values())):
                # Where one has failed, the others wait for it in vain.
                self._stop()
                until = time.monotonic() + self.patience
            if until is not None and time.monotonic() > until:
                break
            self._poll(running)
            time.sleep(POLL_SECONDS)

    def _running(self) -> list[int]:
        ended = {rank for rank, state in self.states.items() if state.code is not None}
        return [rank for rank in range(len(self.nodes)) if rank not in ended and rank not in self.lost]

    def _poll(self, running: list[int]) -> None:
        asked = {self.nodes[rank].poll.remote(self.known if rank == 0 else 0): rank for rank in running}
        ready, _ = self.ray.wait(list(asked), num_returns=len(asked), timeout=5)
        for reference in ready:
            rank = asked[reference]
            try:
                state = self.ray.get(reference)
            except self.ray.exceptions.ActorUnavailableError:
                continue
            except self.ray.exceptions.RayActorError:
                self.lost[rank] = "was lost"
                continue
            self.states[rank], self.heard[rank] = state, time.monotonic()
            if rank == 0 and state.events:
                self.known += len(state.events)
                with open(self.order["events"], "ab", buffering=0) as file:
                    file.write(travel.followed(state.events) if "sent" in self.order else state.events)
        for rank in running:
            if time.monotonic() - self.heard[rank] > SILENT_SECONDS:
                self.lost.setdefault(rank, f"has not answered for {SILENT_SECONDS:g} seconds")

    def _stop(self) -> None:
        for rank in self._running():
            self.nodes[rank].stop.remote()

    def _outcome(self) -> dict[str, Any]:
        stage, left = self.order["component"], {rank: state.outcome for rank, state in self.states.items()}
        for outcome in left.values():
            if outcome is not None and outcome["state"] == outcomes.PROBLEMS:
                return outcome
        first = left.get(0)
        if first is not None and first["state"] == outcomes.COMPLETE:
            where = f"ray, {', '.join(place.host for place in self.places)}"
            return {**first, "environment": {**first["environment"], "compute": where}}
        if self.stopping():
            return {"state": outcomes.INTERRUPTED, "problems": []}
        killed = {rank: "was ended" for rank, state in self.states.items() if state.code and not state.spoke}
        if not (gone := {**killed, **self.lost}) and first is not None and first["state"] == outcomes.FAILED:
            return first
        how = ", ".join(f"node {self.places[rank].host} {word}" for rank, word in sorted(gone.items()))
        raise _Lost(f"{how or 'a node was asked to end'} while {stage} ran on it")

    def _asked(self, references: list[Any]) -> list[Any]:
        try:
            return list(self.ray.get(references))
        except self.ray.exceptions.RayActorError as error:
            raise _Lost(f"a node was lost before {self.order['component']} began ({first_line(error)})") from error
