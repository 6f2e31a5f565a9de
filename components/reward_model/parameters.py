"""Parameters of reward_model."""

from __future__ import annotations

from pydantic import Field

from components.finetuning.parameters import TOO_LONG, FineTuningParameters, SamplingParameters, TooLong, one_device
from components.training import CheckpointEvery, LearningRate, Steps


class RewardModelParameters(FineTuningParameters):
    """A reward model from ranked answers."""

    too_long: TooLong = Field("fail", description=TOO_LONG)
    held_out_share: float = Field(0.2, gt=0, lt=0.9, description="Share of groups whose pairs only measure")
    pairs_per_prompt: int = Field(6, ge=1, le=2016, description="Most pairs made of one prompt's answers")
    sampling: SamplingParameters = Field(SamplingParameters(), description="Answers drawn to be ranked")
    steps: Steps = 80
    learning_rate: LearningRate = 1e-3
    checkpoint_every: CheckpointEvery = 40

    def problems(self) -> list[str]:
        return [*super().problems(), *one_device(self)]
