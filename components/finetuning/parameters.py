"""Parameters that the fine-tuning stages share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.contract import StageParameters
from components.training import Steps, TrainingParameters


class FineTuningParameters(TrainingParameters):
    """How long and how fast to fine-tune; each stage sets its own defaults."""

    steps: Steps = 250
    seq_length: int | None = Field(
        default=None,
        ge=1,
        le=1_048_576,
        description="Tokens of the longest example. Null: as many as the model takes, which is the most in any case.",
    )

    def problems(self) -> list[str]:
        found = super().problems()
        if self.checkpoint_every % self.log_every:
            found.append(
                f"checkpoint_every ({self.checkpoint_every}) must be a multiple of log_every ({self.log_every}), "
                "or curves would differ after a resume"
            )
        return found


def one_device(parameters: TrainingParameters) -> list[str]:
    """The problem of a stage that trains on a single device and is to use several."""
    if parameters.processes == 1:
        return []
    name = "nodes" if parameters.nodes > 1 else "devices"
    return [f"{name} is {getattr(parameters, name)}; this stage trains on one device of one machine: set it to 1"]


class GenerationParameters(StageParameters):
    """How answers are generated."""

    max_new_tokens: int = Field(default=24, ge=1, le=32_768, description="Longest answer, in tokens")
    batch_size: int = Field(default=256, ge=1, le=65_536, description="Answers generated side by side")


class SamplingParameters(GenerationParameters):
    """Several answers a prompt, to be ranked."""

    samples: int = Field(default=4, ge=2, le=64, description="Answers drawn for every prompt")
    temperature: float = Field(default=1.0, gt=0, le=10, description="Temperature of the draws")


TooLong = Literal["fail", "skip"]
TOO_LONG = "What to do with rows longer than the model's context: fail, or skip (counted and reported)"
