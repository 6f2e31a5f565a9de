"""reward_model: learns which of two answers is the better one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from components.contract import ArtifactSpec, Component
from components.finetuning.families import draws_answers, unsuited
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

    init: Literal["instruct", "base"] = Field(
        default="instruct",
        description="Weights that it starts from: models/instruct, or models/base, such as an encoder, of which there "
        "is no instruct model",
    )
    too_long: TooLong = Field(default="fail", description=TOO_LONG)
    held_out_share: float = Field(default=0.2, gt=0, lt=0.9, description="Share of groups whose pairs only measure")
    pairs_per_prompt: int = Field(default=6, ge=1, le=2016, description="Most pairs made of one prompt's answers")
    sampling: SamplingParameters = Field(default=SamplingParameters(), description="Answers drawn to be ranked")
    steps: FineTuningSteps = 80
    learning_rate: FineTuningRate = 1e-3
    checkpoint_every: CheckpointEvery = 40


def _nothing_ranked(parameters: RewardModelParameters, inputs: Mapping[str, Path]) -> str | None:
    folder = inputs.get(parameters.init)
    if folder is None:
        return f"no models/{parameters.init}"
    if has_no_rows(inputs["instructions"], "reward"):
        return "no rows to learn a reward from"
    if reason := unsuited(folder, "reward_model"):
        return reason
    draws = draws_answers(folder)
    from components.tasks import has_verifier

    try:
        with open(inputs["instructions"] / "reward.jsonl", encoding="utf-8") as lines:
            rows = (json.loads(line) for line in lines if line.strip())
            ranked = any(has_pair(row) or (draws and has_verifier(row)) for row in rows)
    except (OSError, ValueError, AttributeError):
        return None  # the stage says what is wrong
    if ranked:
        return None
    return "no pairs of answers, and " + ("no verifier to rank any" if draws else "only a decoder draws some to rank")


component = Component(
    name="reward_model",
    version="1.0.0",
    summary="A model that scores answers, trained on ranked answers of the instruct model or on the user's pairs.",
    parameters=RewardModelParameters,
    inputs=(
        ArtifactSpec(
            "instruct", "models/instruct", "model", "instruct", optional=True, when=lambda p: p.init == "instruct"
        ),
        ArtifactSpec("base", "models/base", "model", "base", optional=True, when=lambda p: p.init == "base"),
        ArtifactSpec("instructions", "data/instructions", "dataset", "preferences"),
    ),
    outputs=(
        ArtifactSpec("model", "models/reward", "model", "reward_model", registered_model="reward"),
        ArtifactSpec("report", "reports/reward_model", "report", "report"),
    ),
    processes=lambda parameters: parameters.processes,
    resumable=True,
    draws=True,
    nothing_to_do=_nothing_ranked,
)
