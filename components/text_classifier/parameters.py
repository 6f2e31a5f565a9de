"""Parameters of the classifiers that judge texts in curation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.contract import StageParameters
from components.text_models import ModelFile


class ClassifierParameters(StageParameters):
    """One classifier: its model, and which documents go by its score."""

    name: str = Field(
        pattern=r"^[a-z][a-z0-9_]{0,39}$",
        description="Name of the score: column of the corpus, rule of the report (classifier_NAME).",
    )
    model: ModelFile = Field(
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
