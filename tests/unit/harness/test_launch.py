"""What keeps a stage's processes from being started is reported before anything runs."""

from __future__ import annotations

import pytest

from components.harness import launch


def problems(processes: int, gpus: int, environment=None, **parameters) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "_gpus", lambda: gpus)
        return launch.problems("pretrain", parameters, processes, environment or {})


def test_what_can_be_started_is_no_problem():
    assert problems(2, 0) == []
    assert problems(16, 0, {"STEMMA_MAIN_ADDRESS": "first.example:29500", "STEMMA_NODE_RANK": "1"}, nodes=2) == []
    assert problems(8, 8, sharding="fsdp2") == []
    assert problems(2, 2, sharding="context_parallel") == []
    assert problems(4, 4, sharding="tensor_parallel") == []
    assert problems(2, 2, sharding="zero3") == []


@pytest.mark.parametrize("address", ["", "first.example", "first.example:", ":29500", "first.example:port"])
def test_machines_need_a_place_to_meet(address):
    (problem,) = problems(2, 0, {"STEMMA_MAIN_ADDRESS": address}, nodes=2)
    assert problem.startswith("2 machines cannot meet: set STEMMA_MAIN_ADDRESS=HOST:PORT of the first on each")


@pytest.mark.parametrize(
    ("sharding", "processes", "gpus", "reported"),
    [
        ("fsdp2", 2, 0, "divides the model among GPUs, and this machine has none"),
        ("fsdp2", 4, 2, "needs 4 GPUs, one a process, and this machine has 2"),
        ("context_parallel", 3, 8, "needs 2 processes or a larger multiple of 2, and there are 3"),
        ("tensor_parallel", 2, 8, "needs 4 processes or a larger multiple of 2, and there are 2"),
    ],
)
def test_a_sharding_needs_enough_devices(sharding, processes, gpus, reported):
    (problem,) = problems(processes, gpus, sharding=sharding)
    assert problem.startswith(f"params.yaml: pretrain.sharding: {sharding}: ") and reported in problem


def test_zero3_names_the_extra_that_brings_deepspeed(monkeypatch):
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None)
    (problem,) = problems(2, 2, sharding="zero3")
    assert problem.startswith("params.yaml: pretrain.sharding: zero3: ") and "'stemma-llm[deepspeed]'" in problem
