"""Section ``compute`` of ``params.yaml``: on which machines the processes of a training stage run.

It stands beside the stages' own sections and is no part of them: what a stage makes is the same wherever it was made,
so a change here makes nothing stale. How many processes there are is ``devices`` and ``nodes`` of the stage itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from components.contract import StageParameters

NAME = "compute"


class Compute(StageParameters):
    """Where one stage trains."""

    kind: Literal["local", "ray"] = Field(
        "local", description="local: this machine. ray: nodes of a Ray cluster that is running (docs/scale.md)."
    )
    address: str | None = Field(
        None,
        min_length=1,
        description="Of ray: address of the cluster's head (host:port); null: RAY_ADDRESS, or the cluster on this "
        "machine.",
    )
    cpus: int = Field(1, ge=1, le=1024, description="Of ray: processors that each process is given.")
    memory: float | None = Field(
        None, gt=0, le=65_536, description="Of ray: GiB that are set aside on each node; null: none."
    )
    labels: dict[str, str] = Field(
        {}, description="Of ray: labels that a node must have, such as {ray.io/market-type: spot}."
    )

    @model_validator(mode="after")
    def _only_of_a_cluster(self) -> Self:
        fields = type(self).model_fields.items()
        given = [name for name, field in fields if name != "kind" and getattr(self, name) != field.default]
        if self.kind == "local" and given:
            raise ValueError(f"{', '.join(given)}: set, but kind is local; set kind to ray, or leave it out")
        return self


class ComputeParameters(StageParameters):
    """Where the training stages run; what they make is the same everywhere."""

    pretrain: Compute = Compute()
    classify_finetune: Compute = Compute()
    instruct_finetune: Compute = Compute()
    reward_model: Compute = Compute()
    preference_tune: Compute = Compute()

    def of(self, stage: str) -> Compute:
        """That of a stage; one that does not train runs on this machine."""
        found: Compute = getattr(self, stage, Compute())
        return found


def read(values: Mapping[str, Any]) -> ComputeParameters:
    """The section as the content of ``params.yaml`` has it.

    Raises:
        InputProblem: every mistake in it.
    """
    from components.harness.parameters import validate

    return validate(values, NAME, ComputeParameters)
