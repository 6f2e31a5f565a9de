"""Parameters of the buckets by perplexity."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from components.contract import StageParameters
from components.text_models import ModelFile

Bucket = Literal["head", "middle", "tail"]


class PerplexityParameters(StageParameters):
    """Texts by how well an n-gram model of good text predicts them (Wenzek et al. 2020, arXiv:1911.00359)."""

    model: ModelFile = Field(
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
