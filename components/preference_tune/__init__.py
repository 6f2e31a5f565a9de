"""preference_tune: the instruct model learns to prefer its better answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.contract import ArtifactSpec, Component
from components.finetuning.parameters import TOO_LONG, FineTuningParameters, SamplingParameters, TooLong, one_device
from components.finetuning.records import has_no_rows
from components.training import CheckpointEvery, LearningRate, Optimizer, PerDeviceBatchSize, Steps

Loss = Literal["sigmoid", "hinge", "ipo", "robust", "sppo_hard", "apo_zero", "apo_down", "sft"]


class PreferenceTuneParameters(FineTuningParameters):
    """Direct preference optimization (Rafailov et al., arXiv:2305.18290)."""

    too_long: TooLong = Field(default="fail", description=TOO_LONG)
    beta: float = Field(default=0.1, gt=0, le=100, description="How closely the model is held to the instruct model")
    losses: tuple[Loss, ...] = Field(
        default=("sigmoid", "sft"),
        min_length=1,
        description="Losses that are added up: DPO's sigmoid and others of TRL; sft keeps the chosen answers probable",
    )
    loss_weights: tuple[float, ...] = Field(default=(1.0, 1.0), description="Weight of each loss")
    pairs_per_prompt: int = Field(default=3, ge=1, le=2016, description="Most pairs made of one prompt's answers")
    held_out_share: float = Field(default=0.1, gt=0, lt=0.9, description="Share of groups whose pairs only measure")
    sampling: SamplingParameters = Field(default=SamplingParameters(), description="Answers drawn to be ranked")
    steps: Steps = 60
    per_device_batch_size: PerDeviceBatchSize = 32
    optimizer: Optimizer = "adamw"
    learning_rate: LearningRate = 2e-4
    checkpoint_every: CheckpointEvery = 20

    def problems(self) -> list[str]:
        found = [*super().problems(), *one_device(self)]
        if len(self.loss_weights) != len(self.losses):
            found.append(f"loss_weights needs one weight for each of the {len(self.losses)} losses")
        return found


component = Component(
    name="preference_tune",
    version="1.0.0",
    summary="The instruct model tuned by DPO on its own ranked answers to fresh questions, or on the user's pairs.",
    parameters=PreferenceTuneParameters,
    inputs=(
        ArtifactSpec("instruct", "models/instruct", "model", "reference"),
        ArtifactSpec("reward", "models/reward", "model", "reward_model", optional=True),
        ArtifactSpec("instructions", "data/instructions", "dataset", "preferences"),
    ),
    outputs=(
        ArtifactSpec("model", "models/assistant", "model", "assistant", registered_model="assistant"),
        ArtifactSpec("report", "reports/preference_tune", "report", "report"),
    ),
    resumable=True,
    nothing_to_do=lambda _, inputs: "no preferences" if has_no_rows(inputs["instructions"], "preference") else None,
)
