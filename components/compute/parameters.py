"""Section ``compute`` of ``params.yaml``: on which machines a stage's work is done.

It stands beside the stages' own sections and is no part of them: what a stage makes is the same wherever it was made,
so a change here makes nothing stale. How many processes there are is ``devices`` and ``nodes`` of the stage itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from components.contract import Address, StageParameters

NAME = "compute"
_FIELDS: dict[str, set[str]] = {
    "local": set(),
    "ray": {"address", "cpus", "memory", "labels", "storage", "min_nodes"},
    "kubernetes": {"cpus", "memory", "labels", "image", "gpu", "namespace", "runtime"},
}


class Compute(StageParameters):
    """Where one stage trains, or has its model asked."""

    kind: Literal["local", "ray", "kubernetes"] = Field(
        "local",
        description="local: this machine. ray: nodes of a Ray cluster that is running. kubernetes: pods, by a TrainJob "
        "of Kubeflow Trainer (docs/scale.md).",
    )
    address: str | None = Field(
        None,
        min_length=1,
        description="Of ray: address of the cluster's head (host:port); null: RAY_ADDRESS, or the cluster on this "
        "machine.",
    )
    cpus: int = Field(1, ge=1, le=1024, description="Of a cluster: processors that each process is given.")
    memory: float | None = Field(
        None,
        gt=0,
        le=65_536,
        description="Of a cluster: GiB that are set aside on each node; of kubernetes also the limit. Null: none.",
    )
    labels: dict[str, str] = Field(
        {},
        description="Of a cluster: labels that a node must have, such as {ray.io/market-type: spot} or "
        "{karpenter.sh/capacity-type: spot}.",
    )
    storage: Address | None = Field(
        None,
        description="Of ray: URL below which inputs, checkpoints and outputs travel (s3://bucket/folder, gs://, az://, "
        "file:///mnt/folder), so that nodes need no disk in common. Credentials come from the environment, of every "
        "node too. Null: the workspace lies on a disk that all nodes share.",
    )
    min_nodes: int | None = Field(
        None,
        ge=1,
        description="Of ray, for pretrain: after a fault the training goes on from its checkpoint with as few nodes as "
        "this where not all come back, to other last bits of the same steps. Null: it waits for all of pretrain.nodes.",
    )
    image: str | None = Field(
        None, min_length=1, description="Of kubernetes: the image that holds Stemma (deploy/docker/stemma.Dockerfile)."
    )
    gpu: str | None = Field(
        None,
        min_length=1,
        description="Of kubernetes: name of the resource of which each process gets one, such as nvidia.com/gpu; null: "
        "processors alone.",
    )
    namespace: str = Field("stemma", min_length=1, description="Of kubernetes: namespace of the TrainJob.")
    runtime: str = Field(
        "stemma", min_length=1, description="Of kubernetes: name of the TrainingRuntime, the form of its pods."
    )

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        fields = type(self).model_fields.items()
        given = [name for name, field in fields if name != "kind" and getattr(self, name) != field.default]
        if useless := [name for name in given if name not in _FIELDS[self.kind]]:
            raise ValueError(f"{', '.join(useless)}: set, but of no use where kind is {self.kind}; leave it out")
        if self.kind == "kubernetes" and self.image is None:
            raise ValueError("kind is kubernetes, which needs an image; name the one that holds Stemma")
        return self


class ComputeParameters(StageParameters):
    """Where stages run; what they make is the same everywhere."""

    pretrain: Compute = Compute()
    classify_finetune: Compute = Compute()
    instruct_finetune: Compute = Compute()
    reward_model: Compute = Compute()
    preference_tune: Compute = Compute()
    evaluate: Compute = Compute()

    def of(self, stage: str) -> Compute:
        """That of a stage; one that is not named here runs on this machine."""
        found: Compute = getattr(self, stage, Compute())
        return found


def read(values: Mapping[str, Any]) -> ComputeParameters:
    """The section as the content of ``params.yaml`` has it.

    Raises:
        InputProblem: every mistake in it.
    """
    from components.harness.parameters import validate

    return validate(values, NAME, ComputeParameters)
