"""preference_tune: the instruct model learns to prefer its better answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from components.contract import ArtifactSpec, Component
from components.finetuning.records import has_no_rows
from components.preference_tune import own_reward
from components.preference_tune.parameters import ONLINE, FunctionReward, PreferenceTuneParameters


def _check(parameters: PreferenceTuneParameters, root: Path, digests: Mapping[str, str]) -> list[str]:
    """Why a reward function of the user's would not be run."""
    if parameters.method not in ONLINE:
        return []
    found = [own_reward.problem(root, each) for each in parameters.rewards if isinstance(each, FunctionReward)]
    return [problem for problem in found if problem]


component = Component(
    name="preference_tune",
    version="1.0.0",
    summary="The instruct model tuned on pairs, on labels or by rewards of its own answers (DPO, KTO, GRPO ...).",
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
    check=_check,
)
