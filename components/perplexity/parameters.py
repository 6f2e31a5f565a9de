"""Parameters of the buckets by perplexity."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from components.contract import StageParameters
from components.text_models import ModelFile

Bucket = Literal["head", "middle", "tail"]


class PerplexityParameters(StageParameters):
    """Texts by how well an n-gram model of good text predicts them (Wenzek et al. 2020, arXiv:1911.00359)."""

    model: ModelFile | None = Field(
        None,
        description="File under data/raw that `stemma data train-perplexity` has written, such as "
        "data/raw/perplexity/wiki.safetensors. null: texts in languages without a model are not judged, and stay.",
    )
    languages: dict[str, ModelFile] = Field(
        {},
        description="Models of single languages, such as {de: data/raw/perplexity/de.safetensors}; `model` judges the "
        "others. curate.language must be set.",
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

    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if self.model is None and not self.languages:
            raise ValueError("names no model: set model, or languages")
        return self
