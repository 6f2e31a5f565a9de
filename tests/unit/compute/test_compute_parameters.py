"""Mistakes in the section ``compute`` are reported with their path, and where a stage runs is no part of what it is."""

from __future__ import annotations

import pytest

from components import compute
from core.errors import InputProblem
from flows.pipeline.prepare import problems_of_clusters


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        ({"pretrain": {"kind": "slurm"}}, "params.yaml: compute.pretrain.kind: Input should be 'local'"),
        ({"pretrain": {"address": "head:6379"}}, "params.yaml: compute.pretrain: address: set, but of no use"),
        ({"pretrian": {"kind": "ray"}}, "params.yaml: compute.pretrian: unknown parameter; did you mean 'pretrain'?"),
        ({"pretrain": {"kind": "ray", "memory": 0}}, "params.yaml: compute.pretrain.memory: "),
        ({"pretrain": {"storage": "s3://bucket"}}, "params.yaml: compute.pretrain: storage: set, but of no use"),
        ({"pretrain": {"min_nodes": 1}}, "params.yaml: compute.pretrain: min_nodes: set, but of no use where kind is"),
        (
            {"pretrain": {"kind": "ray", "storage": "s3://u:p@b"}},
            "params.yaml: compute.pretrain.storage: an address ho",
        ),
        (
            {"pretrain": {"kind": "kubernetes"}},
            "params.yaml: compute.pretrain: kind is kubernetes, which needs an im",
        ),
    ],
)
def test_mistakes_are_named(given, reported):
    with pytest.raises(InputProblem) as refused:
        compute.read({"compute": given})
    (problem,) = refused.value.problems
    assert problem.startswith(reported)


def test_what_does_not_train_runs_on_this_machine():
    assert compute.read({}).of("pretrain").kind == compute.read({}).of("curate").kind == "local"


def test_the_cluster_of_an_evaluation_is_asked_before_a_run_and_once_for_all_models():
    stages = ["curate", "evaluate@base", "evaluate@instruct"]
    (problem,) = problems_of_clusters(stages, {"compute": {"evaluate": {"kind": "ray", "address": "127.0.0.1:1"}}})
    assert problem.startswith("params.yaml: compute.evaluate: no Ray cluster answers at 127.0.0.1:1")
    pods = {"compute": {"evaluate": {"kind": "kubernetes", "image": "stemma"}}}
    assert problems_of_clusters(stages, pods) == [
        "params.yaml: compute.evaluate.kind: kubernetes trains; make it ray, or local"
    ]
