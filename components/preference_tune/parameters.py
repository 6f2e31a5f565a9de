"""Parameters of preference_tune."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from components.contract import StageParameters
from components.finetuning.parameters import TOO_LONG, SamplingParameters, TooLong, TrainingParameters

Loss = Literal["sigmoid", "hinge", "ipo", "robust", "sppo_hard", "apo_zero", "apo_down", "sft"]


class PreferenceTuneParameters(StageParameters):
    """Direct preference optimization (Rafailov et al., arXiv:2305.18290)."""

    too_long: TooLong = Field("fail", description=TOO_LONG)
    beta: float = Field(0.1, gt=0, le=100, description="How closely the model is held to the instruct model")
    losses: tuple[Loss, ...] = Field(
        ("sigmoid", "sft"),
        min_length=1,
        description="Losses that are added up: DPO's sigmoid and others of TRL; sft keeps the chosen answers probable",
    )
    loss_weights: tuple[float, ...] = Field((1.0, 1.0), description="Weight of each loss")
    pairs_per_prompt: int = Field(3, ge=1, le=2016, description="Most pairs made of one prompt's answers")
    held_out_share: float = Field(0.1, gt=0, lt=0.9, description="Share of groups whose pairs only measure")
    sampling: SamplingParameters = Field(SamplingParameters(), description="Answers drawn to be ranked")
    training: TrainingParameters = Field(
        TrainingParameters(steps=60, batch_size=32, optimizer="adamw", learning_rate=2e-4, checkpoint_every=20),
        description="How long and how fast to train",
    )

    @model_validator(mode="after")
    def _weights_match(self) -> PreferenceTuneParameters:
        if len(self.loss_weights) != len(self.losses):
            raise ValueError(f"loss_weights needs one weight for each of the {len(self.losses)} losses")
        return self
