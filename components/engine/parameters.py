"""Parameters of the engine: where a stage's batches are worked on."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from components.contract import StageParameters


class EngineParameters(StageParameters):
    """Where a stage does its work. The result is the same bytes whatever stands here."""

    type: Literal["local", "ray"] = Field(
        "local", description="local: processes on this machine. ray: a Ray cluster that is running (docs/data.md)."
    )
    workers: Literal["auto"] | Annotated[int, Field(strict=True, ge=1)] = Field(
        "auto",
        description="Tasks at the same time. auto: one a processor; a small job on one machine takes one process.",
    )
    address: str | None = Field(
        None,
        min_length=1,
        description="Address of the cluster's head (host:port); null: RAY_ADDRESS, or the cluster on this machine.",
    )

    @model_validator(mode="after")
    def _address_of_a_cluster(self) -> Self:
        if self.address is not None and self.type != "ray":
            raise ValueError(f"address is {self.address!r}, but type is local: set type to ray, or address to null")
        return self
