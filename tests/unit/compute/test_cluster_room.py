"""How many copies of a model a cluster has room for."""

from __future__ import annotations

import pytest

from components.compute import Compute, cluster, driver


def node(number: int, gpus: int = 0, **labels: str) -> dict:
    has = {"CPU": 8.0, "memory": 32.0 * cluster.GIB} | ({"GPU": float(gpus)} if gpus else {})
    return {"NodeID": str(number), "Alive": True, "Resources": has, "Labels": labels}


class Ray:
    """What the driver asks of the library about the nodes."""

    def __init__(self, *nodes: dict):
        self.nodes = lambda: list(nodes)


@pytest.mark.parametrize(
    ("asked", "nodes", "room"),
    [
        ({"cpus": 3}, [node(0), node(1)], 4),
        ({"cpus": 3}, [node(0), node(1, gpus=1)], 1),  # each has a GPU where there are any
        ({"cpus": 1, "memory": 10}, [node(0)], 3),
        ({"cpus": 4, "labels": {"zone": "b"}}, [node(0, zone="a"), node(1, zone="b")], 2),
        ({"cpus": 16}, [node(0)], 0),
    ],
)
def test_copies_are_asked_where_the_rest_has_room_for_as_many_as_processes(asked, nodes, room):
    compute, ray = Compute(kind="ray", **asked), Ray(*nodes)
    assert cluster.room(compute, cluster.alive(ray)) == room
    for stage, draws in (("preference_tune", True), ("reward_model", True), ("instruct_finetune", False)):
        for processes in (1, 2, 3):
            order = {"component": stage, "processes": processes}
            assert driver._has_room_for_copies(ray, order, compute) is (draws and room >= 2 * processes)
