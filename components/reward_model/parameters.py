"""Parameters of reward_model."""

from __future__ import annotations

from pydantic import Field

from components.contract import StageParameters
from components.finetuning.parameters import TOO_LONG, SamplingParameters, TooLong, TrainingParameters


class RewardModelParameters(StageParameters):
    """A reward model from ranked answers."""

    too_long: TooLong = Field("fail", description=TOO_LONG)
    held_out_share: float = Field(0.2, gt=0, lt=0.9, description="Share of groups whose pairs only measure")
    pairs_per_prompt: int = Field(6, ge=1, le=2016, description="Most pairs made of one prompt's answers")
    sampling: SamplingParameters = Field(SamplingParameters(), description="Answers drawn to be ranked")
    training: TrainingParameters = Field(
        TrainingParameters(steps=80, batch_size=64, muon_learning_rate=0.01, learning_rate=1e-3, checkpoint_every=40),
        description="How long and how fast to train",
    )
