"""Parameters of classify_finetune."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.contract import StageParameters
from components.finetuning.parameters import TrainingParameters


class ClassifyFinetuneParameters(StageParameters):
    """A classifier on the pretrained decoder."""

    train: Literal["head", "last_layer", "all"] = Field(
        "all", description="What learns: the new class head; also the last block and final norm; or every weight"
    )
    max_tokens: int | None = Field(
        96, ge=1, description="Texts are cut to so many tokens; null: to as many as the model takes"
    )
    prediction_batch_size: int = Field(128, ge=1, le=65_536, description="Texts classified side by side")
    training: TrainingParameters = Field(
        TrainingParameters(steps=70, batch_size=64, muon_learning_rate=0.02, learning_rate=4e-3, checkpoint_every=35),
        description="How long and how fast to train",
    )
