"""With how many nodes a training goes on after a fault, and what is refused before it begins."""

from __future__ import annotations

import pytest

from components.compute import Compute, driver, elastic
from components.instruct_finetune import component as instruct
from components.pretrain import component as pretrain

FOUR = {"nodes": 4, "devices": 2, "per_device_batch_size": 3}  # 24 sequences


def compute(min_nodes: int | None = 1) -> Compute:
    return Compute(kind="ray", min_nodes=min_nodes)


@pytest.mark.parametrize(
    ("asked", "min_nodes", "numbers"),
    [
        ({}, 1, [3, 2, 1]),
        ({}, 2, [3, 2]),
        ({}, 4, []),
        ({}, None, []),
        ({"per_device_batch_size": 2}, 1, [2, 1]),  # 16 sequences among 6 processes do not share
        ({"batch_ramp_start": 8, "batch_ramp_tokens": 9}, 1, [2, 1]),  # it rises by 8, which 6 do not share
        ({"sharding": "fsdp2", "devices": 1, "per_device_batch_size": 6}, 1, [3, 2]),  # one would not be sharded
        ({"sharding": "context_parallel"}, 1, []),
    ],
)
def test_the_largest_numbers_that_share_every_batch_come_first(asked, min_nodes, numbers):
    assert elastic.fewer(compute(min_nodes), pretrain.parameters(**(FOUR | asked))) == numbers


@pytest.mark.parametrize("nodes", [1, 4])
def test_what_is_possible_is_no_problem(nodes):
    assert elastic.problems(pretrain, compute(nodes), pretrain.parameters(**FOUR), {}) == []
    assert elastic.problems(pretrain, compute(None), pretrain.parameters(sharding="fsdp2"), {}) == []


@pytest.mark.parametrize(
    ("asked", "min_nodes", "reported"),
    [
        ({}, 5, "5 is more than pretrain.nodes, which is 4; lower it"),
        ({"sharding": "tensor_parallel"}, 1, "sharding tensor_parallel needs the number of processes"),
        ({"sharding": "zero3", "optimizer": "adamw"}, 2, "sharding zero3 needs the number of processes"),
        (
            {"per_device_batch_size": 2},
            3,
            "of the numbers of nodes from 3 to 3 none divides the whole batch of 16 sequences among nodes x 2 devices;",
        ),
        ({"batch_ramp_start": 8, "batch_ramp_tokens": 9}, 3, "of the numbers of nodes from 3 to 3 none divides 4, as"),
        ({"sharding": "fsdp2", "nodes": 2, "devices": 1}, 1, "of the numbers of nodes from 1 to 1 none divides the"),
    ],
)
def test_what_is_not_is_refused_with_a_reason(asked, min_nodes, reported):
    (problem,) = elastic.problems(pretrain, compute(min_nodes), pretrain.parameters(**(FOUR | asked)), {})
    assert problem.startswith(f"params.yaml: compute.pretrain.min_nodes: {reported}")


def test_other_stages_and_a_time_that_is_none_are_refused():
    (problem,) = elastic.problems(instruct, compute(), instruct.parameters(), {})
    assert problem.startswith("params.yaml: compute.instruct_finetune.min_nodes: pretrain alone goes on with fewer")
    (problem,) = elastic.problems(pretrain, compute(), pretrain.parameters(**FOUR), {elastic.WAIT: "soon"})
    assert problem.startswith("STEMMA_REPLACEMENT_SECONDS is 'soon': set it to")


def test_a_training_begins_with_all_nodes(tmp_path):
    order = {"component": "pretrain", "parameters": FOUR, "scratch": str(tmp_path)}
    assert driver._fewer(order, compute(2)) == []
    assert driver._fewer(order | {"checkpoint": "step-0000000008"}, compute(2)) == [3, 2], "in the store"
    (tmp_path / "checkpoints/step-0000000008").mkdir(parents=True)
    assert driver._fewer(order, compute(2)) == [3, 2], "on the disk in common"
    assert driver._fewer(order, compute(None)) == []
