"""Parameters of the classifiers that judge texts in curation."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from components.contract import StageParameters, outside_raw


class ClassifierParameters(StageParameters):
    """One classifier: its model, and which documents go by its score."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,39}$",
        description="Name of the score: column of the corpus, rule of the report (classifier_NAME).",
    )
    model: str = Field(
        description="File under data/raw that `stemma data train-classifier` has written, such as "
        "data/raw/classifiers/quality.safetensors."
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="Score from 0 to 1 at which texts are divided; null: the model's own."
    )
    drop: Literal["below", "above", "none"] = Field(
        "below",
        description="below: texts with a score under the threshold go. above: those with the threshold or more. none: "
        "all stay, and the score is in the corpus and the report.",
    )

    @field_validator("model")
    @classmethod
    def _among_the_inputs(cls, value: str) -> str:
        if outside_raw(value) or PurePosixPath(value).suffix != ".safetensors":
            raise ValueError("must be a .safetensors file under data/raw/, where changes are tracked")
        return value
