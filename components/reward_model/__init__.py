"""reward_model: learns which of two answers is the better one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from components.contract import ArtifactSpec, Component
from components.finetuning.families import unsuited
from components.finetuning.parameters import (
    TOO_LONG,
    FineTuningParameters,
    FineTuningRate,
    FineTuningSteps,
    SamplingParameters,
    TooLong,
)
from components.finetuning.records import has_no_rows, has_pair
from components.training import CheckpointEvery


class RewardModelParameters(FineTuningParameters):
    """A reward model from ranked answers."""

    too_long: TooLong = Field(default="fail", description=TOO_LONG)
    held_out_share: float = Field(default=0.2, gt=0, lt=0.9, description="Share of groups whose pairs only measure")
    pairs_per_prompt: int = Field(default=6, ge=1, le=2016, description="Most pairs made of one prompt's answers")
    sampling: SamplingParameters = Field(default=SamplingParameters(), description="Answers drawn to be ranked")
    steps: FineTuningSteps = 80
    learning_rate: FineTuningRate = 1e-3
    checkpoint_every: CheckpointEvery = 40


def _nothing_ranked(_: RewardModelParameters, inputs: Mapping[str, Path]) -> str | None:
    if has_no_rows(inputs["instructions"], "reward"):
        return "no rows to learn a reward from"
    if reason := unsuited(inputs["instruct"], "reward_model"):
        return reason
    from components.tasks import has_verifier

    try:
        with open(inputs["instructions"] / "reward.jsonl", encoding="utf-8") as lines:
            rows = (json.loads(line) for line in lines if line.strip())
            ranked = any(has_pair(row) or has_verifier(row) for row in rows)
    except (OSError, ValueError, AttributeError):
        return None  # the stage says what is wrong
    return None if ranked else "no pairs of answers, and no verifier to rank any"


component = Component(
    name="reward_model",
    version="1.0.0",
    summary="A model that scores answers, trained on ranked answers of the instruct model or on the user's pairs.",
    parameters=RewardModelParameters,
    inputs=(
        ArtifactSpec("instruct", "models/instruct", "model", "instruct"),
        ArtifactSpec("instructions", "data/instructions", "dataset", "preferences"),
    ),
    outputs=(
        ArtifactSpec("model", "models/reward", "model", "reward_model", registered_model="reward"),
        ArtifactSpec("report", "reports/reward_model", "report", "report"),
    ),
    processes=lambda parameters: parameters.processes,
    resumable=True,
    nothing_to_do=_nothing_ranked,
)
