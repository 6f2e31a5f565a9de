"""classify_finetune: a decoder, encoder or encoder-decoder with a class head in place of its output layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from components.contract import ArtifactSpec, Component
from components.finetuning.parameters import (
    FineTuningMuonRate,
    FineTuningParameters,
    FineTuningRate,
    FineTuningSteps,
    SeqLength,
    one_device,
)
from components.training import CheckpointEvery


class ClassifyFinetuneParameters(FineTuningParameters):
    """A classifier on the pretrained model."""

    train: Literal["head", "last_layer", "all"] = Field(
        default="all",
        description="What learns: the new class head; also the last block and final norm; or every weight",
    )
    seq_length: SeqLength = Field(
        default=96,
        description="Texts are cut to so many tokens; null: to as many as the model takes; auto: to the smallest "
        "multiple of 64 that holds 99 % of the training texts",
    )
    prediction_batch_size: int = Field(default=128, ge=1, le=65_536, description="Texts classified side by side")
    class_weights: Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0, le=1e6)]] = Field(
        default="none",
        description="Weights of the classes in the loss. balanced: inversely to their number of training texts, 1 on "
        "average; or a weight for each label, 1 for those that are not named",
    )
    threshold: Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = Field(
        default=0.5,
        description="Of two classes the rarer one is predicted from this probability on; auto: where its F1 on "
        "validation is highest",
    )
    steps: FineTuningSteps = 70
    muon_learning_rate: FineTuningMuonRate = 0.02
    learning_rate: FineTuningRate = 4e-3
    checkpoint_every: CheckpointEvery = 35

    def problems(self) -> list[str]:
        return [*super().problems(), *one_device(self)]


def _no_labels(_: ClassifyFinetuneParameters, inputs: Mapping[str, Path]) -> str | None:
    names = inputs["labels"] / "labels.json"
    return "no labels" if names.is_file() and names.read_text(encoding="utf-8").strip() == "[]" else None


component = Component(
    name="classify_finetune",
    version="1.0.0",
    summary="A text classifier: the base model with a class head, beside TF-IDF with logistic regression.",
    parameters=ClassifyFinetuneParameters,
    inputs=(
        ArtifactSpec("base", "models/base", "model", "base"),
        ArtifactSpec("labels", "data/labels", "dataset", "labels"),
    ),
    outputs=(
        ArtifactSpec("model", "models/classifier", "model", "classifier", registered_model="classifier"),
        ArtifactSpec("report", "reports/classify_finetune", "report", "report"),
    ),
    resumable=True,
    nothing_to_do=_no_labels,
)
