"""preference_tune: the instruct model learns to prefer its better answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from components.contract import ArtifactSpec, Component
from components.finetuning.families import unsuited
from components.finetuning.records import has_no_rows, has_pair
from components.preference_tune import own_reward
from components.preference_tune.parameters import ONLINE, FunctionReward, PreferenceTuneParameters
from components.tasks import has_verifier


def _check(parameters: PreferenceTuneParameters, root: Path, digests: Mapping[str, str]) -> list[str]:
    """Why a reward function of the user's would not be run."""
    if parameters.method not in ONLINE:
        return []
    found = [own_reward.problem(root, each) for each in parameters.rewards if isinstance(each, FunctionReward)]
    return [problem for problem in found if problem]


def _nothing_to_learn(parameters: PreferenceTuneParameters, inputs: Mapping[str, Path]) -> str | None:
    """Where no row has a pair, a label or a verifier, and there is no reward model, nothing says what is better."""
    if has_no_rows(inputs["instructions"], "preference"):
        return "no preferences"
    if reason := unsuited(inputs["instruct"], "preference_tune"):
        return reason
    if parameters.method in ONLINE or "reward" in inputs:
        return None
    try:
        with open(inputs["instructions"] / "preference.jsonl", encoding="utf-8") as lines:
            rows = (json.loads(line) for line in lines if line.strip())
            ranked = any(has_pair(row) or has_verifier(row) or row.get("label") is not None for row in rows)
    except (OSError, ValueError, AttributeError):
        return None  # the stage says what is wrong
    return None if ranked else "no pairs or labels, no verifier and no reward model to rank answers"


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
    processes=lambda parameters: parameters.processes,
    resumable=True,
    draws=True,
    nothing_to_do=_nothing_to_learn,
    check=_check,
)
