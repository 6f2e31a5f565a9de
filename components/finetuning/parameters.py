"""Parameters that the three stages share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from components.contract import StageParameters


class TrainingParameters(StageParameters):
    """How long and how fast to train; each stage sets its own defaults."""

    steps: int = Field(250, ge=1, le=1_000_000, description="Optimizer steps")
    batch_size: int = Field(64, ge=1, le=65_536, description="Examples a step, over all processes")
    gradient_accumulation: int = Field(
        1, ge=1, le=1024, description="Parts a batch is cut into one after the other, to save memory"
    )
    optimizer: Literal["muon", "adamw"] = Field(
        "muon", description="muon: Muon on the blocks' matrices and AdamW on the rest; adamw: AdamW on all"
    )
    muon_learning_rate: float = Field(0.01, gt=0, le=1, description="Peak learning rate of Muon")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="Peak learning rate of AdamW")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="How the rates fall, to 0 or not at all"
    )
    warmup: float = Field(0.04, ge=0, lt=1, description="Share of the steps in which the rates rise from 0")
    weight_decay: float = Field(0.0, ge=0, le=1, description="Decoupled weight decay of matrices")
    clip: float = Field(1.0, gt=0, le=1000, description="Largest norm of the gradient")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="bfloat16: mixed precision, for large models on accelerators"
    )
    checkpoint_every: int = Field(50, ge=1, description="Steps between checkpoints; a multiple of log_every")
    log_every: int = Field(5, ge=1, le=10_000, description="Steps between points of the curves")

    @model_validator(mode="after")
    def _consistent(self) -> TrainingParameters:
        problems = []
        if self.checkpoint_every % self.log_every:
            problems.append(
                f"checkpoint_every ({self.checkpoint_every}) must be a multiple of log_every ({self.log_every}), "
                "or curves would differ after a resume"
            )
        if self.batch_size % self.gradient_accumulation:
            problems.append(
                f"batch_size ({self.batch_size}) must be a multiple of gradient_accumulation "
                f"({self.gradient_accumulation})"
            )
        if problems:
            raise ValueError("; ".join(problems))
        return self


class GenerationParameters(StageParameters):
    """How answers are generated."""

    max_new_tokens: int = Field(24, ge=1, le=32_768, description="Longest answer, in tokens")
    batch_size: int = Field(256, ge=1, le=65_536, description="Answers generated side by side")


class SamplingParameters(GenerationParameters):
    """Several answers a prompt, to be ranked."""

    samples: int = Field(4, ge=2, le=64, description="Answers drawn for every prompt")
    temperature: float = Field(1.0, gt=0, le=10, description="Temperature of the draws")


TooLong = Literal["fail", "skip"]
TOO_LONG = "What to do with rows longer than the model's context: fail, or skip (counted and reported)"
