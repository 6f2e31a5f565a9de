"""Parameters of the buckets by perplexity."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from components.contract import StageParameters, outside_raw

Bucket = Literal["head", "middle", "tail"]


class PerplexityParameters(StageParameters):
    """Texts by how well an n-gram model of good text predicts them (Wenzek et al. 2020, arXiv:1911.00359)."""

    model: str = Field(
        description="File under data/raw that `stemma data train-perplexity` has written, such as "
        "data/raw/perplexity/wiki.safetensors."
    )
    keep: tuple[Bucket, ...] = Field(
        ("head", "middle"),
        description="Buckets that stay. head: texts like the best predicted third of the reference; tail: like the "
        "worst.",
    )

    @field_validator("keep")
    @classmethod
    def _some_stay(cls, value: tuple[Bucket, ...]) -> tuple[Bucket, ...]:
        if not value:
            raise ValueError("must name a bucket: head, middle or tail; otherwise nothing would be left")
        return value

    @field_validator("model")
    @classmethod
    def _among_the_inputs(cls, value: str) -> str:
        if outside_raw(value) or PurePosixPath(value).suffix != ".safetensors":
            raise ValueError("must be a .safetensors file under data/raw/, where changes are tracked")
        return value
